import { Type, type Static } from 'typebox'
import type { ErrorCode } from '../errors.js'
import { requestProperties } from '../parameters.js'
import { file, files } from './file.js'

/**
 * Body of POST /generate, with diffusers' names. Validation checks only this schema; admission later checks what the
 * model supports against what the workers report.
 */
export const GenerateRequest = Type.Object(requestProperties(), {
  $id: 'GenerateRequest',
  additionalProperties: false,
  examples: [{ prompt: 'a red circle on a blue background', seed: 7 }]
})

export type GenerateRequest = Static<typeof GenerateRequest>

/** The same as a form, whose files are `image`, `mask_image`, `control_image` and `ip_adapter_image`. Lists are JSON in the form's text. */
export const GenerateForm = Type.Object(
  {
    ...GenerateRequest.properties,
    image: file('The picture to start from: a PNG, JPEG or WebP file.'),
    mask_image: file('Which parts of `image` to repaint: white those, black what stays.'),
    control_image: files('The picture of each entry of `controls`, in their order.'),
    ip_adapter_image: files('The picture of each entry of `ip_adapters`, in their order.')
  },
  { $id: 'GenerateForm', additionalProperties: false }
)

/** Headers that POST /generate reads. */
export const GenerateHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      pattern: '^[\\x21-\\x7e]{1,255}$',
      description:
        'A retry with the same key and body joins the running request or gets its answer. A request with a key continues for a while after its client disconnects.'
    })
  ),
  'x-request-timeout': Type.Optional(
    Type.String({
      pattern: '^\\d{1,6}(\\.\\d{1,6})?$',
      description: 'Like `timeout` in the body; the smaller of the two applies.'
    })
  ),
  prefer: Type.Optional(
    Type.String({
      description: '`respond-async` answers 202 at once, with the job that makes the images (docs/jobs.md).'
    })
  ),
  'last-event-id': Type.Optional(
    Type.String({ pattern: '^\\d{0,15}$', description: 'Resumes the event stream after this id.' })
  )
})

export const RequestParams = Type.Object({
  id: Type.String({ minLength: 1, maxLength: 128, description: 'The x-request-id of a request in flight.' })
})

/** Errors that refuse a request for images. */
export const ADMISSION_CODES = [
  'INVALID_REQUEST',
  'UNAUTHORIZED',
  'MODEL_NOT_FOUND',
  'PROMPT_TOO_LONG',
  'UNSUPPORTED_SIZE',
  'UNSUPPORTED_SCHEDULER',
  'UNSUPPORTED_LORA',
  'UNSUPPORTED_EMBEDDING',
  'UNSUPPORTED_CONTROL',
  'UNSUPPORTED_PRESET',
  'UNSUPPORTED_FEATURE',
  'INVALID_PICTURE',
  'LIMIT_EXCEEDED',
  'NOT_ACCEPTABLE',
  'REQUEST_TIMEOUT',
  'BODY_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'EXPECTATION_FAILED',
  'IDEMPOTENCY_KEY_REUSED',
  'HEADERS_TOO_LARGE',
  'QUEUE_FULL',
  'RATE_LIMITED',
  'CONCURRENCY_LIMITED',
  'NOT_READY',
  'DRAINING',
  'MEMORY_FULL',
  'DEADLINE_UNREACHABLE',
  'STORAGE_FULL'
] as const satisfies readonly ErrorCode[]

/** Errors of the job store. */
export const STORE_CODES = ['JOB_STORE_UNAVAILABLE'] as const satisfies readonly ErrorCode[]

/** Errors of a request that becomes a job. */
export const JOB_FAILURES = ['JOBS_FULL', 'WEBHOOK_NOT_ALLOWED', ...STORE_CODES] as const satisfies readonly ErrorCode[]

/** Errors that refuse a request as a job: not those that say to wait, because a job waits by itself. */
export const JOB_CODES = [
  ...ADMISSION_CODES.filter(
    (code) =>
      ![
        'NOT_ACCEPTABLE',
        'IDEMPOTENCY_KEY_REUSED',
        'QUEUE_FULL',
        'CONCURRENCY_LIMITED',
        'NOT_READY',
        'DEADLINE_UNREACHABLE'
      ].includes(code)
  ),
  ...JOB_FAILURES
] as const satisfies readonly ErrorCode[]

/** Errors that end an accepted request. */
export const END_CODES = [
  'CANCELLED',
  'GENERATION_FAILED',
  'OUT_OF_MEMORY',
  'WORKER_CRASHED',
  'DEADLINE_EXCEEDED'
] as const satisfies readonly ErrorCode[]
