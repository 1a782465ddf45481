import { Type, type Static, type TObject, type TOptional, type TSchema, type TUnsafe } from 'typebox'
import {
  bare,
  type ModelLimits,
  type NamesWith,
  type Parameter,
  type parameters,
  parametersWith
} from '../parameters.js'

/**
 * The wire, version 1. protocol/README.md says what the fields mean; protocol/messages.schema.json is made from this file
 * (`npx vitest run test/engine/wire-schema.test.ts --update`). Fields that are not named here are ignored.
 */

export const PROTOCOL_VERSION = 1

/** Kinds of messages by name; the first byte of a message. */
export const KINDS = {
  HELLO: 0x01,
  HEARTBEAT: 0x02,
  PROGRESS: 0x03,
  RESULT: 0x04,
  FAILED: 0x05,
  BYE: 0x06,
  WELCOME: 0x81,
  REFUSED: 0x82,
  PING: 0x83,
  GENERATE: 0x84,
  CANCEL: 0x85,
  DRAIN: 0x86
} as const

export type Kind = keyof typeof KINDS

const Id = Type.String({ minLength: 1, maxLength: 200 })
const Name = Type.String({ minLength: 1, maxLength: 255 })
const Count = Type.Integer({ minimum: 0 })
const Positive = Type.Integer({ minimum: 1 })
const Uint32 = Type.Integer({ minimum: 0, maximum: 4_294_967_295 })
const Guidance = Type.Number({ minimum: 0 })
const Milliseconds = Type.Number({ minimum: 0 })
const Sha256 = Type.String({ minLength: 64, maxLength: 64 })

const oneOf = <const V extends string>(...values: readonly V[]) => Type.Unsafe<V>({ enum: values })
const listOf = <S extends TSchema>(
  items: S,
  limits: { minItems?: number; maxItems?: number; description?: string } = {}
) => Type.Unsafe<Static<S>[]>({ ...limits, type: 'array', items })
const sizes = (description: string, minItems = 0) =>
  Type.Unsafe<[width: number, height: number][]>({
    description,
    type: 'array',
    minItems,
    items: { type: 'array', items: Positive, minItems: 2, maxItems: 2 }
  })

const TokenIds = Type.Object(
  { ids: listOf(Uint32, { minItems: 1 }), ids_2: listOf(Uint32, { minItems: 1 }) },
  { description: 'A prompt for both text encoders' }
)
export type TokenIds = Static<typeof TokenIds>

const Timings = Type.Object({
  queue_ms: Milliseconds,
  encode_ms: Milliseconds,
  denoise_ms: Milliseconds,
  decode_ms: Milliseconds
})
export type Timings = Static<typeof Timings>

type Refined = NamesWith<'neutral'>
type Table = typeof parameters

/** A number's form, without the most that the model itself limits. */
function wireForm({ schema, limit }: Parameter): TSchema {
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number }
  return {
    ...bare(schema),
    ...(minimum === undefined ? {} : { minimum }),
    ...(limit !== undefined || maximum === undefined ? {} : { maximum })
  }
}

/** Fields of GENERATE that are left out where they are neutral. */
const refinements = Object.fromEntries(
  parametersWith('neutral').map(({ wire, ...parameter }) => [wire, Type.Optional(wireForm(parameter))])
) as {
  [N in Refined as Table[N]['wire']]: TOptional<TUnsafe<number>>
}

const Limits = Type.Object(
  Object.fromEntries(
    parametersWith('limit').map(({ limit, ...parameter }) => [
      limit,
      parameter.neutral === undefined
        ? wireForm({ ...parameter, limit })
        : Type.Optional(wireForm({ ...parameter, limit }))
    ])
  )
)

const HELLO = Type.Object(
  {
    protocol: Count,
    worker: Name,
    version: Name,
    pid: Count,
    model: Type.Object({ id: Name, digest: Sha256, dtype: Name }),
    tokenizers: listOf(Type.Object({ digest: Sha256, pad_id: Count, max_length: Positive }), { minItems: 1 }),
    sizes: sizes('List of [width, height] that can be made now', 1),
    rows: Positive,
    schedulers: listOf(Name, { minItems: 1 }),
    defaults: Type.Object({
      width: Positive,
      height: Positive,
      num_inference_steps: Positive,
      guidance_scale: Guidance,
      scheduler: Name,
      negative_prompt: Type.String()
    }),
    limits: Limits as unknown as TUnsafe<ModelLimits>,
    devices: listOf(Type.Object({ id: Count, kind: Type.String() })),
    programs: listOf(
      Type.Object({ name: Type.String(), seconds: Type.Number({ minimum: 0 }), cached: Type.Boolean() })
    ),
    coming: Type.Optional(sizes('List of [width, height] that are still being compiled')),
    features: Type.Optional(listOf(Name, { description: 'What the worker can do that not every worker can' }))
  },
  { description: '0x01, worker to gateway: who the worker is and what it can do' }
)
export type Hello = Static<typeof HELLO>

const HEARTBEAT = Type.Object(
  {
    session: Id,
    steps_total: Count,
    rows_in_use: Count,
    rows_padded_total: Count,
    queued: Count,
    step_ms: listOf(Milliseconds, { maxItems: 64 }),
    memory: listOf(Type.Object({ device: Count, bytes_in_use: Count, bytes_limit: Count })),
    sizes: Type.Optional(sizes("As HELLO's sizes, now", 1)),
    not_finite: Type.Optional(
      Type.Object(
        { text_encoder: Count, denoise: Count, decode: Count },
        { description: 'Images that failed because their numbers were not finite, by where that was seen first' }
      )
    )
  },
  { description: '0x02, worker to gateway: alive, and this is how much has been done' }
)
export type Heartbeat = Static<typeof HEARTBEAT>

const PROGRESS = Type.Object(
  {
    id: Id,
    image: Count,
    stage: oneOf('encoding', 'denoising', 'decoding'),
    step: Count,
    of: Positive,
    preview: Type.Optional(Type.Object({ width: Positive, height: Positive }))
  },
  { description: '0x03, worker to gateway: an image came further; one binary frame if there is a preview' }
)
export type Progress = Static<typeof PROGRESS>

const RESULT = Type.Object(
  { id: Id, image: Count, seed: Uint32, width: Positive, height: Positive, timings: Timings },
  { description: '0x04, worker to gateway: one image is done; one binary frame' }
)
export type Result = Static<typeof RESULT>

const FAILED = Type.Object(
  {
    id: Id,
    code: oneOf('invalid', 'cancelled', 'expired', 'draining', 'out_of_memory', 'internal'),
    message: Type.String()
  },
  { description: '0x05, worker to gateway: the request ends without (all of) its images' }
)
export type Failed = Static<typeof FAILED>

const BYE = Type.Object(
  { reason: Type.String() },
  { description: '0x06, worker to gateway: the worker leaves and takes no more work' }
)

const WELCOME = Type.Object(
  { session: Id, heartbeat_ms: Type.Number({ minimum: 1 }) },
  { description: '0x81, gateway to worker: you are in' }
)

const REFUSED = Type.Object(
  {
    code: Type.Unsafe<'protocol' | 'tokenizer' | 'model'>({
      ...Name,
      description: 'protocol, tokenizer or model; a worker leaves at any other, too'
    }),
    message: Type.String()
  },
  { description: '0x82, gateway to worker: you do not fit' }
)

const PING = Type.Object({ session: Id }, { description: '0x83, gateway to worker: I am here' })

const GENERATE = Type.Object(
  {
    id: Id,
    prompt: TokenIds,
    negative: Type.Union([TokenIds, Type.Null()]),
    seeds: listOf(Uint32, { minItems: 1 }),
    steps: Positive,
    guidance: Guidance,
    scheduler: Name,
    width: Positive,
    height: Positive,
    clip_skip: Type.Optional(Count),
    preview_every: Type.Optional(Count),
    timeout_ms: Type.Optional(Milliseconds),
    trace: Type.Optional(Type.String()),
    ...refinements
  },
  { description: '0x84, gateway to worker: make one image for each seed' }
)
export type Generate = Readonly<Static<typeof GENERATE>>

const CANCEL = Type.Object({ id: Id }, { description: '0x85, gateway to worker: nobody wants this request any more' })

const DRAIN = Type.Object(
  { grace_ms: Milliseconds },
  { description: '0x86, gateway to worker: finish what fits in the time, then leave' }
)

/** The form of each kind's header. */
export const HEADERS = {
  HELLO,
  HEARTBEAT,
  PROGRESS,
  RESULT,
  FAILED,
  BYE,
  WELCOME,
  REFUSED,
  PING,
  GENERATE,
  CANCEL,
  DRAIN
} as const satisfies Record<Kind, TObject>

type Headers = { [K in Kind]: Static<(typeof HEADERS)[K]> }

/** A worker's message: the header by kind, and the binary that comes with it. */
export type WorkerMessage =
  | MessageOf<'HELLO' | 'HEARTBEAT' | 'FAILED' | 'BYE'>
  | (MessageOf<'PROGRESS'> & { pixels?: Uint8Array })
  | (MessageOf<'RESULT'> & { pixels: Uint8Array })

export type GatewayMessage = MessageOf<'WELCOME' | 'REFUSED' | 'PING' | 'GENERATE' | 'CANCEL' | 'DRAIN'>

type MessageOf<K extends Kind> = { [N in K]: { kind: N; header: Headers[N] } }[K]

/** Largest header that is read, in bytes. */
export const MAX_HEADER_BYTES = 1024 * 1024

/** The frames of a message to a worker (none of them has binary frames in version 1). */
export function pack(message: GatewayMessage): Buffer[] {
  return [Buffer.from([KINDS[message.kind], PROTOCOL_VERSION]), Buffer.from(JSON.stringify(message.header))]
}

/** Why a message was dropped; the golden frames name the same reasons for both sides. */
export type Malformation =
  'prefix' | 'version' | 'kind' | 'header_size' | 'header_json' | 'header_field' | 'binary_count' | 'binary_size'

export class MalformedMessage extends Error {
  readonly reason: Malformation
  constructor(reason: Malformation, message: string) {
    super(message)
    this.reason = reason
  }
}
