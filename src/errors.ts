import { STATUS_CODES } from 'node:http'

/**
 * Every error a client can meet: its code, its HTTP status and what it means.
 *
 * The catalogue is the only place where a code gets a status. `retryable` errors carry `Retry-After`.
 */
export const catalogue = {
  INVALID_REQUEST: { status: 400, summary: 'The request does not fit the schema.' },
  PROMPT_TOO_LONG: { status: 400, summary: 'The prompt has more tokens than the text encoders take.' },
  UNSUPPORTED_SIZE: { status: 400, summary: 'The model has no compiled program for this size.' },
  UNSUPPORTED_SCHEDULER: { status: 400, summary: 'The model does not offer this scheduler.' },
  UNSUPPORTED_FEATURE: { status: 400, summary: 'The workers cannot do what this field asks for.' },
  LIMIT_EXCEEDED: { status: 400, summary: 'A number is over what this server allows.' },
  UNAUTHORIZED: { status: 401, summary: 'The request has no key, or one that is not known.' },
  NOT_FOUND: { status: 404, summary: 'There is no such route, or no such request in flight.' },
  METHOD_NOT_ALLOWED: {
    status: 405,
    summary: 'There is such a route, but not for this method; `Allow` says for which.'
  },
  NOT_ACCEPTABLE: { status: 406, summary: 'The answer cannot take any of the forms that Accept names.' },
  REQUEST_TIMEOUT: { status: 408, summary: 'The request did not come whole within its time.' },
  BODY_TOO_LARGE: { status: 413, summary: 'The body is over the limit.' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, summary: 'The body has another media type than the route takes.' },
  EXPECTATION_FAILED: { status: 417, summary: 'The server does not do what Expect asks for.' },
  IDEMPOTENCY_KEY_REUSED: { status: 422, summary: 'The idempotency key came before with another body.' },
  NO_RECIPE: { status: 422, summary: 'The image does not carry a recipe of Easel.' },
  QUEUE_FULL: { status: 429, summary: 'The queue is full.' },
  RATE_LIMITED: { status: 429, summary: 'The key has asked too often lately.' },
  CONCURRENCY_LIMITED: { status: 429, summary: 'The key has as many requests in flight as it may.' },
  HEADERS_TOO_LARGE: { status: 431, summary: 'The headers, or the path, are over the limit.' },
  CANCELLED: { status: 499, summary: 'The client left or cancelled the request.' },
  GENERATION_FAILED: { status: 500, summary: 'The worker could not make the image.' },
  OUT_OF_MEMORY: { status: 500, summary: 'The accelerator ran out of memory for this request.' },
  WORKER_CRASHED: { status: 500, summary: 'The worker died twice in a row while it ran this request.' },
  INTERNAL: { status: 500, summary: 'Something went wrong inside the server.' },
  NOT_READY: { status: 503, summary: 'No worker is ready, or none for this size yet.' },
  DRAINING: { status: 503, summary: 'The server is shutting down.' },
  MEMORY_FULL: { status: 503, summary: 'The server holds as many bytes for its clients as it may.' },
  DEADLINE_UNREACHABLE: { status: 503, summary: 'The request could not be done within its time, so it was not begun.' },
  DEADLINE_EXCEEDED: { status: 504, summary: 'The request did not finish before its deadline.' }
} as const satisfies Record<string, { status: number; summary: string }>

export type ErrorCode = keyof typeof catalogue

export interface ErrorDetails {
  /** The request's field that is wrong. */
  field?: string
  /** Seconds after which a retry has a chance. */
  retryAfter?: number
  /** Whether it is how an accepted request ended, and no refusal. */
  ofAccepted?: boolean
  cause?: unknown
}

/** An error with a code from the catalogue. Its message is written for the client and holds no internals. */
export class EaselError extends Error {
  readonly code: ErrorCode
  readonly field: string | undefined
  readonly retryAfter: number | undefined
  readonly ofAccepted: boolean

  constructor(code: ErrorCode, message: string = catalogue[code].summary, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'EaselError'
    this.code = code
    this.field = details.field
    this.retryAfter = details.retryAfter
    this.ofAccepted = details.ofAccepted ?? false
  }

  get statusCode(): number {
    return catalogue[this.code].status
  }
}

/** The body of an error answer: Fastify's own shape, plus `code`, `field` and `requestId`. */
export interface ErrorBody {
  statusCode: number
  code: string
  error: string
  message: string
  field?: string
  requestId: string
}

export function errorBody(error: EaselError, requestId: string): ErrorBody {
  return {
    statusCode: error.statusCode,
    code: error.code,
    // 499 (nginx's "client closed request") has no name in Node's table.
    error: STATUS_CODES[error.statusCode] ?? 'Client Closed Request',
    message: error.message,
    ...(error.field === undefined ? {} : { field: error.field }),
    requestId
  }
}
