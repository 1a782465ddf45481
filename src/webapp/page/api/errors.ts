import type { ErrorBody } from './types.js'

/** The server answered with an error. */
export class ServerError extends Error {
  readonly body: ErrorBody

  constructor(body: ErrorBody) {
    super(body.message)
    this.name = 'ServerError'
    this.body = body
  }
}

/** No answer, or the connection broke. */
export class NetworkError extends Error {
  constructor(cause: unknown) {
    super('The server cannot be reached', { cause })
    this.name = 'NetworkError'
  }
}

/** The error in a response, including one from a proxy. */
export async function serverError(response: Response): Promise<ServerError> {
  const given = (await response.json().catch(() => ({}))) as Partial<ErrorBody>
  const wait = Number(response.headers.get('retry-after') ?? Number.NaN)
  const retryAfter = given.retry_after ?? (Number.isFinite(wait) ? wait : undefined)
  return new ServerError({
    statusCode: response.status,
    code: given.code ?? 'UNKNOWN',
    message: given.message ?? `The server answered ${response.status}`,
    ...(given.field === undefined ? {} : { field: given.field }),
    ...(given.requestId === undefined ? {} : { requestId: given.requestId }),
    ...(retryAfter === undefined ? {} : { retry_after: retryAfter })
  })
}
