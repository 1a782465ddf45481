import { Type, type Static } from 'typebox'
import type { ErrorCode } from '../errors.js'
import type { Format } from '../image/formats.js'
import { OutputFormat } from './format.js'

/** The longest prompt in UTF-16 units, as in OpenAI's API. 77 tokens are seldom over 500; more is accepted to be cut, or to be told where it would be. */
export const MAX_PROMPT_LENGTH = 32_000

const size = { minimum: 8, maximum: 8192 }
const share = { minimum: 0, maximum: 1 }

/** Body of POST /generate, in diffusers' names. What the model supports is checked after the schema, against the worker's word. */
export const GenerateRequest = Type.Object(
  {
    prompt: Type.String({ minLength: 1, maxLength: MAX_PROMPT_LENGTH, description: 'What the image shows.', examples: ['a red circle on a blue background'] }),
    negative_prompt: Type.Optional(Type.String({ maxLength: MAX_PROMPT_LENGTH, description: "What the image is to stay away from. Used when guidance_scale > 1. An empty text is the same as none, diffusers' `negative_prompt=None`: zero embeddings where the model has force_zeros_for_empty_prompt, as SDXL base does." })),
    seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 4_294_967_295, description: 'Decides the noise. The same request with the same seed gives the same image. Random when left out, and always returned.' })),
    num_inference_steps: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'Denoising steps.' })),
    guidance_scale: Type.Optional(Type.Number({ minimum: 0, maximum: 100, description: 'Classifier-free guidance; 1 or less turns it off.' })),
    guidance_start: Type.Optional(Type.Number({ ...share, description: 'Share of the steps before which guidance is left out, so that they cost half.' })),
    guidance_end: Type.Optional(Type.Number({ ...share, description: 'Share of the steps after which guidance is left out; at least guidance_start. Of N steps, counted from 0, those from ⌊guidance_start·N⌋ to before ⌊guidance_end·N⌋ are guided.' })),
    cache_interval: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'Only every so manieth step computes all of the model, the others its top level over what the last whole one found below (DeepCache). At most the limit in GET /health.' })),
    width: Type.Optional(Type.Integer({ ...size, description: 'Pixels. A size that the model has compiled programs for; /health lists them.' })),
    height: Type.Optional(Type.Integer({ ...size, description: 'Pixels.' })),
    scheduler: Type.Optional(Type.String({ maxLength: 64, description: 'Sampler, for example euler or dpmpp_2m; /health lists them.' })),
    num_images: Type.Optional(Type.Integer({ minimum: 1, maximum: 64, description: 'How many images to make; image i has the seed + i. Several come as JSON, multipart/mixed or events.' })),
    output_format: Type.Optional(Type.Unsafe<Format>({ ...OutputFormat, description: 'File format. Default: the one that Accept names, else png.' })),
    quality: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, description: 'Quality of jpeg and webp; png loses nothing. Default: 90.' })),
    timeout: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 86_400, description: "Seconds that the client will wait: a request that cannot be done by then is refused at once, one that is not is stopped and answered 504. At most the server's own limit." })),
    preview_interval: Type.Optional(Type.Integer({ minimum: 0, maximum: 1000, description: 'Steps between previews in the event stream; 0, the default, for none.' })),
    truncate: Type.Optional(Type.Boolean({ description: 'Accept a prompt that is too long and use its first 77 tokens.' }))
  },
  { $id: 'GenerateRequest', additionalProperties: false, examples: [{ prompt: 'a red circle on a blue background', seed: 7 }] }
)

export type GenerateRequest = Static<typeof GenerateRequest>

/** Headers of POST /generate that mean something to it. */
export const GenerateHeaders = Type.Object({
  'idempotency-key': Type.Optional(Type.String({ pattern: '^[\\x21-\\x7e]{1,255}$', description: 'A retry with the same key and body joins the running request or gets its answer. With a key, a request goes on for a while after its client has left.' })),
  'x-request-timeout': Type.Optional(Type.String({ pattern: '^\\d{1,6}(\\.\\d{1,6})?$', description: 'As `timeout` in the body; the lesser of the two counts.' })),
  'last-event-id': Type.Optional(Type.String({ pattern: '^\\d{0,15}$', description: 'Events up to this id are not sent again.' }))
})

export const RequestParams = Type.Object({ id: Type.String({ minLength: 1, maxLength: 128, description: 'The x-request-id of a request in flight.' }) })

/** How a request for images can be refused. */
export const ADMISSION_CODES = [
  'INVALID_REQUEST',
  'UNAUTHORIZED',
  'PROMPT_TOO_LONG',
  'UNSUPPORTED_SIZE',
  'UNSUPPORTED_SCHEDULER',
  'UNSUPPORTED_FEATURE',
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
  'DEADLINE_UNREACHABLE'
] as const satisfies readonly ErrorCode[]

/** How an accepted request can end without images. */
export const END_CODES = ['CANCELLED', 'GENERATION_FAILED', 'OUT_OF_MEMORY', 'WORKER_CRASHED', 'DEADLINE_EXCEEDED'] as const satisfies readonly ErrorCode[]
