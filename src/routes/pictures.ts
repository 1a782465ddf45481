import type { FastifyRequest } from 'fastify'
import { EaselError } from '../errors.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Caller } from '../service/caller.js'
import type { Prepared } from '../service/preparer.js'
import { picturesOf } from '../service/request-pictures.js'
import type { ImageService } from '../service/service.js'

/**
 * The checked body of a route that takes JSON and forms, which have the same fields. Fastify checks a body by the schema
 * of its content type, so none passes.
 *
 * @throws EaselError INVALID_REQUEST without a body
 */
export function bodyOf({ body }: FastifyRequest): GenerateRequest {
  if (typeof body !== 'object' || body === null)
    throw new EaselError('INVALID_REQUEST', 'the body is empty: send a JSON object or a form')
  return body as GenerateRequest
}

/**
 * Decodes the pictures in the body of a request for images; undefined if it has none. Stops when the client leaves.
 *
 * @param body the effective request, with the pictures' digests
 * @throws EaselError when the request is refused
 */
export async function preparedOf(
  service: ImageService,
  request: FastifyRequest,
  body: GenerateRequest,
  caller: Caller
): Promise<Prepared | undefined> {
  const { uploads } = request
  if (uploads === null) return undefined
  const files = picturesOf(uploads, body)
  if (files === undefined) return undefined
  try {
    return await whileHere(request, (left) => service.prepare(body, caller, files, left))
  } finally {
    // What is prepared keeps the files if it still needs them.
    uploads.close()
  }
}

/** Does something with a signal that fires when the client leaves. */
export async function whileHere<T>({ raw }: FastifyRequest, work: (left: AbortSignal) => Promise<T>): Promise<T> {
  const leaving = new AbortController()
  const leave = () => leaving.abort(new EaselError('CANCELLED'))
  raw.socket.once('close', leave)
  if (raw.socket.destroyed) leave()
  try {
    return await work(leaving.signal)
  } finally {
    raw.socket.off('close', leave)
  }
}
