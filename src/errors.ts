import { STATUS_CODES } from 'node:http'

/**
 * Every error a client can get: its code, its HTTP status and its meaning. No other place assigns a status to a code.
 * docs/errors.md repeats the catalogue.
 */
export const catalogue = {
  INVALID_REQUEST: { status: 400, summary: 'The request does not match the schema.' },
  PROMPT_TOO_LONG: { status: 400, summary: 'The prompt has more tokens than the text encoders take.' },
  UNSUPPORTED_SIZE: { status: 400, summary: 'The model has no compiled program for this size.' },
  UNSUPPORTED_SCHEDULER: { status: 400, summary: 'The model does not offer this scheduler.' },
  UNSUPPORTED_LORA: { status: 400, summary: 'The server does not have this LoRA, or another file of that name.' },
  UNSUPPORTED_EMBEDDING: {
    status: 400,
    summary: 'The server does not have this embedding, or another file of that name.'
  },
  UNSUPPORTED_CONTROL: {
    status: 400,
    summary: 'The server does not have this ControlNet, T2I-Adapter or IP-Adapter, or another one of that name.'
  },
  UNSUPPORTED_PRESET: { status: 400, summary: 'The model does not offer this preset.' },
  UNSUPPORTED_FEATURE: { status: 400, summary: 'The workers cannot do what this field asks for.' },
  INVALID_PICTURE: { status: 400, summary: 'A picture cannot be read, or not be used as it is.' },
  LIMIT_EXCEEDED: { status: 400, summary: "A number exceeds this server's limit." },
  UNAUTHORIZED: { status: 401, summary: 'The request has no key, or an unknown one.' },
  URL_INVALID: { status: 403, summary: 'The URL of a stored image has expired, or was changed.' },
  WEBHOOK_NOT_ALLOWED: { status: 403, summary: 'The operator does not allow webhooks to this address.' },
  NOT_FOUND: { status: 404, summary: 'No such route, request in flight, job, file or batch.' },
  MODEL_NOT_FOUND: { status: 404, summary: 'The server does not have this model.' },
  METHOD_NOT_ALLOWED: {
    status: 405,
    summary: 'The route does not support this method; `Allow` lists those it does.'
  },
  NOT_ACCEPTABLE: { status: 406, summary: 'The server cannot answer in any of the media types in Accept.' },
  REQUEST_TIMEOUT: { status: 408, summary: 'The client did not send the whole request in time.' },
  JOB_EXISTS: { status: 409, summary: 'A job of this name was submitted with a different body.' },
  BODY_TOO_LARGE: { status: 413, summary: 'The body exceeds the limit.' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, summary: 'The route does not accept the media type of the body.' },
  EXPECTATION_FAILED: { status: 417, summary: 'The server does not support this Expect header.' },
  IDEMPOTENCY_KEY_REUSED: { status: 422, summary: 'The idempotency key was already used with a different body.' },
  NO_RECIPE: { status: 422, summary: 'The image does not contain an Easel recipe.' },
  QUEUE_FULL: { status: 429, summary: 'The queue is full.' },
  RATE_LIMITED: { status: 429, summary: 'The key has exceeded its request rate.' },
  CONCURRENCY_LIMITED: { status: 429, summary: 'The key has too many requests in flight.' },
  HEADERS_TOO_LARGE: { status: 431, summary: 'The headers or the path exceed the limit.' },
  CANCELLED: { status: 499, summary: 'The client disconnected or cancelled the request.' },
  GENERATION_FAILED: { status: 500, summary: 'The worker could not make the image.' },
  OUT_OF_MEMORY: { status: 500, summary: 'The accelerator ran out of memory for this request.' },
  WORKER_CRASHED: { status: 500, summary: 'The worker died twice in a row while it ran this request.' },
  INTERNAL: { status: 500, summary: 'Something went wrong inside the server.' },
  NOT_READY: { status: 503, summary: 'No worker is ready, or none is ready for this size or prompt yet.' },
  DRAINING: { status: 503, summary: 'The server is shutting down.' },
  MEMORY_FULL: { status: 503, summary: "The server's memory for clients is full." },
  JOBS_FULL: { status: 503, summary: 'The job store has no room for another job.' },
  JOB_STORE_UNAVAILABLE: { status: 503, summary: 'The job store does not answer.' },
  DEADLINE_UNREACHABLE: {
    status: 503,
    summary: 'The request could not finish before its deadline, so it was not started.'
  },
  RESULTS_UNAVAILABLE: {
    status: 503,
    summary: 'The images were made, but the store of results does not take them, or does not give them back.'
  },
  STORAGE_FULL: {
    status: 507,
    summary: "The server's disk cannot take the pictures of this request, or its images."
  },
  DEADLINE_EXCEEDED: { status: 504, summary: 'The request did not finish before its deadline.' }
} as const satisfies Record<string, { status: number; summary: string }>

export type ErrorCode = keyof typeof catalogue

export interface ErrorDetails {
  /** The request's wrong field. */
  field?: string
  /** Value of `Retry-After`, in seconds. */
  retryAfter?: number
  /** Whether an accepted request ended with it; false for a refusal. */
  ofAccepted?: boolean
  cause?: unknown
}

/** An error with a code from the catalogue. The client sees its message, so it must not contain internals. */
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

/** The body of an error response: Fastify's default shape plus `code`, `field` and `requestId`. */
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
    // Node's table does not have 499, nginx's "client closed request".
    error: STATUS_CODES[error.statusCode] ?? 'Client Closed Request',
    message: error.message,
    ...(error.field === undefined ? {} : { field: error.field }),
    requestId
  }
}
