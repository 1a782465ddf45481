import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { catalogue, EaselError, type ErrorCode, errorBody } from '../errors.js'
import { excerpt } from '../excerpt.js'
import { fieldLike } from '../schemas/suggest.js'
import { noteMethods } from './methods.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** The form of errors below each prefix, the longest last. */
    errorForms: Map<string, ErrorBodyOf>
    /** Is told the code of each request that is refused. */
    onRefused: (code: ErrorCode) => void
  }
}

/** Most characters of a path, or of a message that is not ours, that an error repeats. */
const MESSAGE_LENGTH = 256

/** Codes of Fastify's own errors that a client causes. */
const FASTIFY_CODES: Record<string, ErrorCode> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'INVALID_REQUEST',
  FST_ERR_CTP_INVALID_JSON_BODY: 'INVALID_REQUEST',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'INVALID_REQUEST',
  FST_ERR_VALIDATION: 'INVALID_REQUEST'
}

/** Answers that a sound server gives when it is asked for too much, or too soon. */
const EXPECTED: ReadonlySet<number> = new Set([503, 504])

/** How an error is put into a body. */
export type ErrorBodyOf = (error: EaselError, requestId: string) => object

/** Answers an error, and tells the client nothing about the inside. */
export function answerError(
  cause: FastifyError | EaselError,
  request: FastifyRequest,
  reply: FastifyReply,
  bodyOf: ErrorBodyOf = errorBody
): FastifyReply {
  const error = toEaselError(cause, request)
  const { code, statusCode } = error
  if (!error.ofAccepted && code !== 'INTERNAL') request.server.onRefused(code)
  // A key that no schema knows is the client's own word, and may be its prompt.
  const field = isUnknownField(cause) ? undefined : error.field
  const level = statusCode >= 500 && !EXPECTED.has(statusCode) ? 'error' : 'info'
  // What a client is told about its own mistake may hold its own words, such as its prompt.
  const said = statusCode >= 500 ? error.message : catalogue[code].summary
  request.log[level](
    { code, field, err: statusCode === 500 ? error : undefined },
    field === undefined ? said : `${said} (${field})`
  )
  // What is refused before it has a route has gone through no hook.
  reply.header('x-request-id', request.id)
  if (error.retryAfter !== undefined) reply.header('retry-after', error.retryAfter)
  return reply.code(error.statusCode).type('application/json').send(bodyOf(error, request.id))
}

/** Answers every error of a scope in one form. Needs `noteMethods` before. */
export function answerErrors(app: FastifyInstance, bodyOf: ErrorBodyOf): void {
  app.errorForms.set(app.prefix, bodyOf)
  const answerUnknown = (request: FastifyRequest, reply: FastifyReply) => {
    const [path = ''] = request.url.split('?')
    const asked = `${request.method} ${excerpt(path, MESSAGE_LENGTH)}`
    const methods = app.methodsOf(path)
    // A route that is there may itself find nothing, as one for files does.
    if (methods.length === 0 || methods.includes(request.method))
      return answerError(new EaselError('NOT_FOUND', `There is no ${asked}`), request, reply, bodyOf)
    const allowed = methods.join(', ')
    return answerError(
      new EaselError('METHOD_NOT_ALLOWED', `There is no ${asked}, only ${allowed}`),
      request,
      reply.header('allow', allowed),
      bodyOf
    )
  }
  app.setNotFoundHandler(answerUnknown)
  app.setErrorHandler((error: FastifyError | EaselError, request, reply) =>
    // Fastify reads a body even where there is no route; what is wrong with that is not what the client has to know.
    request.is404 && String(error.code).startsWith('FST_ERR_')
      ? answerUnknown(request, reply)
      : answerError(error, request, reply, bodyOf)
  )
}

/** The form of every error that no other scope has its own form for. Comes before the routes. */
export const errorsPlugin = fp<{ onRefused: (code: ErrorCode) => void }>(
  async (app, { onRefused }) => {
    noteMethods(app)
    app.decorate('onRefused', onRefused)
    app.decorate('errorForms', new Map())
    answerErrors(app, errorBody)
  },
  { name: 'errors' }
)

/** The form of errors at a path that never came to a route. */
export function errorFormOf({ errorForms }: FastifyInstance, path: string): ErrorBodyOf | undefined {
  return [...errorForms].findLast(([prefix]) => path.startsWith(`${prefix}/`))?.[1]
}

function toEaselError(error: FastifyError | EaselError, request: FastifyRequest): EaselError {
  if (error instanceof EaselError) return error
  if (error.validation) return invalid(error)
  const code = FASTIFY_CODES[error.code]
  if (code === 'UNSUPPORTED_MEDIA_TYPE')
    return new EaselError(code, `content-type must be ${mediaTypesOf(request).join(' or ')}`, { field: 'content-type' })
  if (code !== undefined) return new EaselError(code, excerpt(error.message, MESSAGE_LENGTH))
  // Broken JSON and the like arrive as plain errors with a client's status.
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500)
    return new EaselError('INVALID_REQUEST', excerpt(error.message, MESSAGE_LENGTH))
  return new EaselError('INTERNAL', undefined, { cause: error })
}

/** The media types that a route takes. */
function mediaTypesOf({ routeOptions }: FastifyRequest): string[] {
  const body = routeOptions.schema?.body as { content?: Record<string, unknown> } | undefined
  return Object.keys(body?.content ?? { 'application/json': {} })
}

/** Names the field that does not fit the schema. One that the schema does not know is shown cut and escaped. */
function invalid(error: FastifyError): EaselError {
  const [first] = error.validation ?? []
  const params = first?.params as { missingProperty?: string; additionalProperty?: string } | undefined
  if (params?.additionalProperty !== undefined) {
    const field = excerpt(params.additionalProperty)
    const meant = fieldLike(params.additionalProperty)
    return new EaselError(
      'INVALID_REQUEST',
      `${JSON.stringify(field)} is not a field of this request${meant === undefined ? '' : `; did you mean ${meant}?`}`,
      { field }
    )
  }
  const field = params?.missingProperty ?? first?.instancePath.split('/')[1]
  return new EaselError(
    'INVALID_REQUEST',
    excerpt(error.message, MESSAGE_LENGTH),
    field === undefined || field === '' ? {} : { field }
  )
}

function isUnknownField(error: FastifyError | EaselError): boolean {
  return 'validation' in error && error.validation?.[0]?.keyword === 'additionalProperties'
}
