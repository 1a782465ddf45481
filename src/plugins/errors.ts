import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest, FastifySchemaValidationError } from 'fastify'
import fp from 'fastify-plugin'
import { catalogue, EaselError, type ErrorCode, errorBody } from '../errors.js'
import { excerpt } from '../excerpt.js'
import { fieldLike } from '../schemas/suggest.js'
import { mediaTypesOf, unsupportedType } from './media-types.js'
import { noteMethods } from './methods.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** The form of errors under each path prefix, in order of registration; the last match applies. */
    errorForms: Map<string, ErrorBodyOf>
    /** Called with the code of each refused request. */
    onRefused: (code: ErrorCode) => void
  }
}

/** Maximum characters of a path, or of a library's message, that an error repeats. */
const MESSAGE_LENGTH = 256

/** Our codes for Fastify's client errors. */
const FASTIFY_CODES: Record<string, ErrorCode> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'INVALID_REQUEST',
  FST_ERR_CTP_INVALID_JSON_BODY: 'INVALID_REQUEST',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'INVALID_REQUEST',
  FST_ERR_VALIDATION: 'INVALID_REQUEST'
}

/** 5xx statuses that a healthy server sends under load or before it is ready: not logged as errors. */
const EXPECTED: ReadonlySet<number> = new Set([503, 504])

/** Builds the body of an error answer. */
export type ErrorBodyOf = (error: EaselError, requestId: string) => object

/** Answers with an error, hiding internal details from the client. */
export function answerError(
  cause: FastifyError | EaselError,
  request: FastifyRequest,
  reply: FastifyReply,
  bodyOf: ErrorBodyOf = errorBody
): FastifyReply {
  const error = toEaselError(cause, request)
  const { code, statusCode } = error
  if (!error.ofAccepted && code !== 'INTERNAL') request.server.onRefused(code)
  // Do not log an unknown field: its name is the client's text and may hold a prompt.
  const field = isUnknownField(cause) ? undefined : error.field
  const level = statusCode >= 500 && !EXPECTED.has(statusCode) ? 'error' : 'info'
  // Do not log a 4xx message: it may quote the request, including the prompt.
  const said = statusCode >= 500 ? error.message : catalogue[code].summary
  request.log[level](
    { code, field, err: level === 'error' ? error : undefined },
    field === undefined ? said : `${said} (${field})`
  )
  // Set it here too: requests refused before routing run no hooks.
  reply.header('x-request-id', request.id)
  if (error.retryAfter !== undefined) reply.header('retry-after', error.retryAfter)
  return reply.code(error.statusCode).type('application/json').send(bodyOf(error, request.id))
}

/** Answers every error of a scope in one form. Call `noteMethods` first. */
export function answerErrors(app: FastifyInstance, bodyOf: ErrorBodyOf): void {
  app.errorForms.set(app.prefix, bodyOf)
  const answerUnknown = (request: FastifyRequest, reply: FastifyReply) => {
    const [path = ''] = request.url.split('?')
    const asked = `${request.method} ${excerpt(path, MESSAGE_LENGTH)}`
    const methods = app.methodsOf(path)
    // A route that exists can also end here, e.g. the static files route for a missing file.
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
    // Fastify parses the body even without a route. Report the missing route, not the body's error.
    request.is404 && String(error.code).startsWith('FST_ERR_')
      ? answerUnknown(request, reply)
      : answerError(error, request, reply, bodyOf)
  )
}

/** The default error form, for scopes without their own. Register before the routes. */
export const errorsPlugin = fp<{ onRefused: (code: ErrorCode) => void }>(
  async (app, { onRefused }) => {
    noteMethods(app)
    app.decorate('onRefused', onRefused)
    app.decorate('errorForms', new Map())
    answerErrors(app, errorBody)
  },
  { name: 'errors' }
)

/** The error form for a path that was refused before routing. */
export function errorFormOf({ errorForms }: FastifyInstance, path: string): ErrorBodyOf | undefined {
  return [...errorForms].findLast(([prefix]) => path.startsWith(`${prefix}/`))?.[1]
}

function toEaselError(error: FastifyError | EaselError, request: FastifyRequest): EaselError {
  if (error instanceof EaselError) return error
  if (error.validation) return invalidBy(error.validation, error.message)
  const code = FASTIFY_CODES[error.code]
  if (code === 'UNSUPPORTED_MEDIA_TYPE') return unsupportedType(mediaTypesOf(request.routeOptions))
  if (code !== undefined) return new EaselError(code, excerpt(error.message, MESSAGE_LENGTH))
  // Malformed JSON and the like arrive as plain errors with a 4xx status.
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500)
    return new EaselError('INVALID_REQUEST', excerpt(error.message, MESSAGE_LENGTH))
  return new EaselError('INTERNAL', undefined, { cause: error })
}

/** What a validator says of a value that violates its schema. */
type Violation = Pick<FastifySchemaValidationError, 'instancePath' | 'params'> & { message?: string | undefined }

/**
 * Names the field that violates the schema. An unknown field's name is truncated and escaped.
 *
 * @param said the violations as a text; by default what a route says of the first one in its body
 */
export function invalidBy(
  [first]: readonly Violation[],
  said = `body${first?.instancePath ?? ''} ${first?.message ?? 'is wrong'}`
): EaselError {
  const params = first?.params as
    { missingProperty?: string; additionalProperty?: string; allowedValues?: readonly unknown[] } | undefined
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
  const allowed = params?.allowedValues
    ?.map((value) => (typeof value === 'string' && value !== '' ? value : JSON.stringify(value)))
    .join(', ')
  const message = allowed === undefined ? said : said.replace('equal to one of the allowed values', `one of ${allowed}`)
  return new EaselError(
    'INVALID_REQUEST',
    excerpt(message, MESSAGE_LENGTH),
    field === undefined || field === '' ? {} : { field }
  )
}

function isUnknownField(error: FastifyError | EaselError): boolean {
  return 'validation' in error && error.validation?.[0]?.keyword === 'additionalProperties'
}
