import type { FastifyRequest } from 'fastify'
import { EaselError } from '../errors.js'

/** The media types that a route accepts. */
export function mediaTypesOf({ schema }: FastifyRequest['routeOptions']): string[] {
  const body = schema?.body as { content?: Record<string, unknown> } | undefined
  return Object.keys(body?.content ?? { 'application/json': {} })
}

/** The error for any other. */
export function unsupportedType(types: readonly string[]): EaselError {
  return new EaselError('UNSUPPORTED_MEDIA_TYPE', `content-type must be ${types.join(' or ')}`, {
    field: 'content-type'
  })
}
