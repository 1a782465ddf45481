import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { catalogue, EaselError, type ErrorCode, errorBody } from '../errors.js'
import { noteMethods } from './methods.js'

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
export function answerError(cause: FastifyError | EaselError, request: FastifyRequest, reply: FastifyReply, bodyOf: ErrorBodyOf = errorBody): FastifyReply {
  const error = toEaselError(cause)
  const { code, field, statusCode } = error
  const level = statusCode >= 500 && !EXPECTED.has(statusCode) ? 'error' : 'info'
  // What a client is told about its own mistake may hold its own words, such as its prompt.
  const said = statusCode >= 500 ? error.message : catalogue[code].summary
  request.log[level]({ code, field, err: statusCode === 500 ? error : undefined }, said)
  if (error.retryAfter !== undefined) reply.header('retry-after', error.retryAfter)
  return reply.code(error.statusCode).type('application/json').send(bodyOf(error, request.id))
}

/** Answers every error of a scope in one form. Needs `noteMethods` before. */
export function answerErrors(app: FastifyInstance, bodyOf: ErrorBodyOf): void {
  const answerUnknown = (request: FastifyRequest, reply: FastifyReply) => {
    const [path = ''] = request.url.split('?')
    const methods = app.methodsOf(path)
    // A route that is there may itself find nothing, as one for files does.
    if (methods.length === 0 || methods.includes(request.method)) return answerError(new EaselError('NOT_FOUND', `There is no ${request.method} ${path}`), request, reply, bodyOf)
    const allowed = methods.join(', ')
    return answerError(new EaselError('METHOD_NOT_ALLOWED', `There is no ${request.method} ${path}, only ${allowed}`), request, reply.header('allow', allowed), bodyOf)
  }
  app.setNotFoundHandler(answerUnknown)
  app.setErrorHandler((error: FastifyError | EaselError, request, reply) =>
    // Fastify reads a body even where there is no route; what is wrong with that is not what the client has to know.
    request.is404 && String(error.code).startsWith('FST_ERR_') ? answerUnknown(request, reply) : answerError(error, request, reply, bodyOf)
  )
}

/** The form of every error that no other scope has its own form for. Comes before the routes. */
export const errorsPlugin = fp(
  async (app) => {
    noteMethods(app)
    answerErrors(app, errorBody)
  },
  { name: 'errors' }
)

function toEaselError(error: FastifyError | EaselError): EaselError {
  if (error instanceof EaselError) return error
  if (error.validation) return invalid(error)
  const code = FASTIFY_CODES[error.code]
  if (code !== undefined) return new EaselError(code, error.message)
  // Broken JSON and the like arrive as plain errors with a client's status.
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) return new EaselError('INVALID_REQUEST', error.message)
  return new EaselError('INTERNAL', undefined, { cause: error })
}

/** Names the field that does not fit the schema. */
function invalid(error: FastifyError): EaselError {
  const [first] = error.validation ?? []
  const params = first?.params as { missingProperty?: string; additionalProperty?: string } | undefined
  const field = params?.missingProperty ?? params?.additionalProperty ?? first?.instancePath.split('/')[1]
  if (params?.additionalProperty !== undefined) {
    return new EaselError('INVALID_REQUEST', `${params.additionalProperty} is not a field of this request`, { field: params.additionalProperty })
  }
  return new EaselError('INVALID_REQUEST', error.message, field === undefined || field === '' ? {} : { field })
}
