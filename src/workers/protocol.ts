import { Type, type Static, type TObject, type TOptional, type TSchema, type TUnsafe } from 'typebox'
import {
  bare,
  MAX_EMBEDDINGS,
  MAX_LORA_WEIGHT,
  MAX_LORAS,
  type ModelLimits,
  type NamesWith,
  type Parameter,
  type parameters,
  parametersWith,
  type Preset as PresetValues,
  type ValueOf
} from '../parameters.js'
import { LATENT_UPSCALERS } from '../upscalers.js'

/**
 * The wire protocol, versions 1 to 3. protocol/README.md explains the fields. After a change here, regenerate
 * protocol/messages.schema.json: `npx vitest run test/workers/wire-schema.test.ts --update`. Unknown fields are ignored.
 */

export const PROTOCOL_VERSION = 1

/** The version of a GENERATE with pictures. */
export const PICTURES_VERSION = 2

/** The version of a GENERATE or FAILED with states. A message has the lowest version that has all it contains. */
export const STATES_VERSION = 3

/** Message kinds by name. The value is the first byte of a message. */
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
const Seconds = Type.Number({ minimum: 0 })
const Sha256 = Type.String({ minLength: 64, maxLength: 64 })

/** Bounds what a worker with a large folder makes the gateway hold. */
const MAX_LISTED = 1000
const MAX_LISTED_CONTROLS = 100

/** The most entries of `controls` and of `ip_adapters` that a message may have; workers allow fewer. */
const MAX_CONTROLS = 4
const MAX_CONTROL_SCALE = 10
const MAX_PICTURES = 6
const LoraWeight = Type.Number({ minimum: -MAX_LORA_WEIGHT, maximum: MAX_LORA_WEIGHT })

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

const Ids = listOf(Uint32, { minItems: 1 })
const Weights = listOf(Type.Number({ minimum: -1000, maximum: 1000 }), { minItems: 1 })
const Spans = listOf(
  Type.Unsafe<[start: number, end: number]>({ type: 'array', items: Count, minItems: 2, maxItems: 2 }),
  { maxItems: 32 }
)
const TokenIds = Type.Object(
  {
    ids: Ids,
    ids_2: Ids,
    weights: Type.Optional(Weights),
    weights_2: Type.Optional(Weights),
    masked: Type.Optional(Spans),
    masked_2: Type.Optional(Spans),
    pooled_ids_2: Type.Optional(Ids)
  },
  { description: 'A prompt for both text encoders' }
)
export type TokenIds = Static<typeof TokenIds>

/** The name of a LoRA or an embedding: no path, and nothing that a prompt's tag could not hold. */
export const LoraName = Type.String({ minLength: 1, maxLength: 200, pattern: '^[^<>:\\u0000-\\u001f]+$' })

const Lora = Type.Object(
  {
    name: LoraName,
    digest: Sha256,
    kind: Name,
    rank: Type.Optional(Positive),
    parts: Type.Optional(listOf(Name, { maxItems: 8 })),
    trigger_words: Type.Optional(listOf(Type.String({ maxLength: 100 }), { maxItems: 8 })),
    base_model: Type.Optional(Type.String({ maxLength: 200 })),
    preset: Type.Optional(Name)
  },
  { description: 'A LoRA that the worker has' }
)
export type Lora = Static<typeof Lora>

const Loras = listOf(Lora, { maxItems: MAX_LISTED })

const LoraUse = Type.Object({ name: LoraName, digest: Sha256, unet_weight: LoraWeight, text_weight: LoraWeight })
export type LoraUse = Static<typeof LoraUse>

const Embedding = Type.Object(
  { name: LoraName, digest: Sha256, vectors: Positive },
  { description: 'A textual inversion that the worker has' }
)
export type Embedding = Static<typeof Embedding>

const Embeddings = listOf(Embedding, { maxItems: MAX_LISTED })

const EmbeddingUse = Type.Object({ name: LoraName, digest: Sha256, first_id: Uint32 })
export type EmbeddingUse = Static<typeof EmbeddingUse>

const Scale = Type.Number({ minimum: 0, maximum: MAX_CONTROL_SCALE })
const Share = Type.Number({ minimum: 0, maximum: 1 })

const Control = Type.Object(
  { name: LoraName, digest: Sha256, kind: Name },
  { description: 'A ControlNet or T2I-Adapter that the worker has' }
)
export type Control = Static<typeof Control>

const Controls = listOf(Control, { maxItems: MAX_LISTED_CONTROLS })

const ControlUse = Type.Object({
  name: LoraName,
  digest: Sha256,
  scale: Scale,
  start: Type.Optional(Share),
  end: Type.Optional(Share)
})
export type ControlUse = Static<typeof ControlUse>

const IpAdapter = Type.Object(
  { name: LoraName, digest: Sha256, tokens: Positive },
  { description: 'An IP-Adapter that the worker has' }
)
export type IpAdapter = Static<typeof IpAdapter>

const IpAdapters = listOf(IpAdapter, { maxItems: MAX_LISTED_CONTROLS })

const IpAdapterUse = Type.Object({ name: LoraName, digest: Sha256, scale: Scale })
export type IpAdapterUse = Static<typeof IpAdapterUse>

const PictureForm = Type.Object(
  {
    role: Type.Unsafe<'image' | 'mask' | 'latents' | 'control' | 'ip_adapter'>({
      ...Name,
      description: 'image, mask, latents, control or ip_adapter'
    }),
    width: Positive,
    height: Positive,
    channels: Positive
  },
  { description: 'What a binary frame holds: width · height · channels bytes' }
)
export type PictureForm = Static<typeof PictureForm>

const LatentsForm = Type.Object(
  { width: Positive, height: Positive, channels: Positive },
  { description: 'What the binary frame holds instead of pixels: width · height · channels bytes of float32 numbers' }
)

const Timings = Type.Object({
  queue_ms: Milliseconds,
  encode_ms: Milliseconds,
  denoise_ms: Milliseconds,
  decode_ms: Milliseconds
})
export type Timings = Static<typeof Timings>

type Refined = (NamesWith<'neutral'> | NamesWith<'omittable'>) & NamesWith<'wire'>
type Table = typeof parameters

/** The schema of a number or of a list. Leaves out the maximum if the model sets its own limit. */
function wireForm({ schema, limit }: Parameter): TSchema {
  const { type, items, minItems, maxItems } = schema as { type?: string } & Record<string, unknown>
  if (type === 'array') return { type, items, minItems, maxItems }
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number }
  return {
    ...bare(schema),
    ...(minimum === undefined ? {} : { minimum }),
    ...(limit !== undefined || maximum === undefined ? {} : { maximum })
  }
}

/** The schema of a parameter without its description. */
function formOf({ schema }: Parameter): TSchema {
  const { description: _, ...form } = schema as { description?: string }
  return form as TSchema
}

/** Fields of GENERATE that may be omitted. */
const refinements = Object.fromEntries(
  parametersWith('wire')
    .filter(({ neutral, omittable }) => neutral !== undefined || omittable)
    .map((parameter) => [parameter.wire, Type.Optional(wireForm(parameter))])
) as {
  [N in Refined as Table[N]['wire']]: TOptional<TUnsafe<ValueOf<N>>>
}

/** Fields of GENERATE that are omitted when the request omits them. */
const omittable = Object.fromEntries(
  parametersWith('omittable')
    .filter(({ wire }) => wire !== undefined)
    .map((parameter) => [parameter.wire, Type.Optional(formOf(parameter))])
) as {
  [N in Extract<NamesWith<'omittable'>, NamesWith<'wire'>> as Table[N]['wire']]: TOptional<Table[N]['schema']>
}

const Limits = Type.Object({
  ...Object.fromEntries(
    parametersWith('limit').map((parameter) => {
      const form = wireForm(parameter)
      return [parameter.limit, parameter.neutral === undefined ? form : Type.Optional(form)]
    })
  ),
  max_chunks: Type.Optional(Positive),
  max_loras: Type.Optional(Count),
  max_controls: Type.Optional(Count)
})

/** Values under the names of the request's fields, as in `defaults`. */
const Preset = Type.Object({
  name: Name,
  num_inference_steps: Positive,
  guidance_scale: Guidance,
  scheduler: Name,
  ...Object.fromEntries(
    parametersWith('preset')
      .filter(({ omittable }) => omittable)
      .map((parameter) => [parameter.name, Type.Optional(formOf(parameter))])
  )
}) as unknown as TUnsafe<PresetValues>

const HELLO = Type.Object(
  {
    protocol: Count,
    worker: Name,
    version: Name,
    pid: Count,
    model: Type.Object({
      id: Name,
      digest: Sha256,
      dtype: Name,
      family: Type.Optional(Name),
      refiner: Type.Optional(Name)
    }),
    tokenizers: listOf(Type.Object({ digest: Sha256, pad_id: Count, max_length: Positive }), { minItems: 1 }),
    sizes: sizes('List of [width, height] that the worker can make now', 1),
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
    coming_features: Type.Optional(
      listOf(Name, { description: 'What features will have besides, when all is compiled' })
    ),
    coming_max_chunks: Type.Optional(Positive),
    features: Type.Optional(listOf(Name, { description: 'Optional abilities of this worker' })),
    unspaced: Type.Optional(listOf(Name, { description: 'Those of schedulers that take no timestep_spacing' })),
    second_order: Type.Optional(
      listOf(Name, { description: 'Those of schedulers that run the UNet twice in each step but the last' })
    ),
    presets: Type.Optional(listOf(Preset, { description: 'Values for few-step models that fit this one' })),
    loras: Type.Optional(Loras),
    embeddings: Type.Optional(Embeddings),
    controls: Type.Optional(Controls),
    ip_adapters: Type.Optional(IpAdapters),
    state_kind: Type.Optional(Sha256)
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
    sizes: Type.Optional(sizes("Current value of HELLO's sizes", 1)),
    features: Type.Optional(listOf(Name, { description: "Current value of HELLO's features" })),
    max_chunks: Type.Optional(Positive),
    coming: Type.Optional(sizes("Current value of HELLO's coming")),
    coming_features: Type.Optional(listOf(Name, { description: "Current value of HELLO's coming_features" })),
    coming_max_chunks: Type.Optional(Positive),
    loras: Type.Optional(Loras),
    embeddings: Type.Optional(Embeddings),
    controls: Type.Optional(Controls),
    ip_adapters: Type.Optional(IpAdapters),
    lora_sets: Type.Optional(
      Type.Object(
        { held: Count, merges_total: Count, merge_seconds_total: Seconds, preparing: Count },
        { description: 'Copies of weights with LoRAs, the time that they took, and images that wait for theirs' }
      )
    ),
    used: Type.Optional(
      Type.Object(
        { busy_ms: Milliseconds, padding_ms: Milliseconds },
        { description: 'How long the engine worked in this session, and how long of that for padding' }
      )
    ),
    not_finite: Type.Optional(
      Type.Object(
        { text_encoder: Count, denoise: Count, decode: Count },
        { description: 'Images that failed because of NaN or infinity, by the stage where it was first seen' }
      )
    )
  },
  { description: '0x02, worker to gateway: alive, with counters' }
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
  { description: '0x03, worker to gateway: progress of one image; one binary frame if it has a preview' }
)
export type Progress = Static<typeof PROGRESS>

const Used = Type.Object(
  {
    encode_ms: Type.Optional(Milliseconds),
    denoise_ms: Type.Optional(Milliseconds),
    preview_ms: Type.Optional(Milliseconds),
    decode_ms: Type.Optional(Milliseconds)
  },
  { description: 'How long the engine worked for the images: their parts of shared calls' }
)
export type Used = Static<typeof Used>

const StateForm = Type.Object(
  {
    image: Count,
    step: Count,
    evaluation: Count,
    bytes: Positive,
    digest: Sha256,
    used: Type.Optional(Used)
  },
  { description: "What a binary frame holds: the state of one of the message's images" }
)
export type StateForm = Static<typeof StateForm>

/** The most states in one message. */
export const MAX_STATES = 100
const States = listOf(StateForm, { minItems: 1, maxItems: MAX_STATES })

const RESULT = Type.Object(
  {
    id: Id,
    image: Count,
    seed: Uint32,
    width: Positive,
    height: Positive,
    timings: Timings,
    used: Type.Optional(Used),
    latents: Type.Optional(LatentsForm)
  },
  { description: '0x04, worker to gateway: one finished image; one binary frame' }
)
export type Result = Static<typeof RESULT>

const FAILED = Type.Object(
  {
    id: Id,
    code: oneOf('invalid', 'cancelled', 'expired', 'draining', 'out_of_memory', 'internal', 'state'),
    message: Type.String(),
    used: Type.Optional(Used),
    states: Type.Optional(States)
  },
  {
    description:
      '0x05, worker to gateway: the request failed, with none or some of its images sent; one binary frame for each of its states'
  }
)
export type Failed = Static<typeof FAILED>

const BYE = Type.Object(
  { reason: Type.String() },
  { description: '0x06, worker to gateway: the worker is leaving and takes no more work' }
)

const WELCOME = Type.Object(
  { session: Id, heartbeat_ms: Type.Number({ minimum: 1 }) },
  { description: '0x81, gateway to worker: HELLO accepted' }
)

const REFUSED = Type.Object(
  {
    code: Type.Unsafe<'protocol' | 'tokenizer' | 'model' | 'name'>({
      ...Name,
      description: 'protocol, tokenizer, model or name; a worker must also exit on an unknown code'
    }),
    message: Type.String()
  },
  { description: '0x82, gateway to worker: this worker is refused' }
)

const PING = Type.Object({ session: Id }, { description: '0x83, gateway to worker: the gateway is alive' })

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
    weighting: Type.Optional(oneOf('a1111', 'compel')),
    empty: Type.Optional(TokenIds),
    loras: Type.Optional(listOf(LoraUse, { minItems: 1, maxItems: MAX_LORAS })),
    embeddings: Type.Optional(listOf(EmbeddingUse, { minItems: 1, maxItems: MAX_EMBEDDINGS })),
    pooled_at_end: Type.Optional(Type.Boolean()),
    schedule_steps: Type.Optional(Positive),
    output_type: Type.Optional(oneOf('latent')),
    latents_upscaler: Type.Optional(oneOf(...LATENT_UPSCALERS)),
    controls: Type.Optional(listOf(ControlUse, { minItems: 1, maxItems: MAX_CONTROLS })),
    ip_adapters: Type.Optional(listOf(IpAdapterUse, { minItems: 1, maxItems: MAX_CONTROLS })),
    pictures: Type.Optional(listOf(PictureForm, { minItems: 1, maxItems: MAX_PICTURES })),
    preview_every: Type.Optional(Count),
    timeout_ms: Type.Optional(Milliseconds),
    trace: Type.Optional(Type.String()),
    tenant: Type.Optional(Type.Object({ id: Count, weight: Type.Number({ exclusiveMinimum: 0 }) })),
    states: Type.Optional(States),
    max_state_bytes: Type.Optional(Positive),
    ...refinements,
    ...omittable
  },
  {
    description:
      '0x84, gateway to worker: make one image per seed; one binary frame for each of its pictures, then for each of its states'
  }
)
export type Generate = Readonly<Static<typeof GENERATE>>

const CANCEL = Type.Object({ id: Id }, { description: '0x85, gateway to worker: stop this request' })

const DRAIN = Type.Object(
  { grace_ms: Milliseconds },
  { description: '0x86, gateway to worker: finish what fits in grace_ms, then leave' }
)

/** The header schema of each kind. */
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

/** A decoded worker message with its pixels or its states' frames, if any. */
export type WorkerMessage =
  | MessageOf<'HELLO' | 'HEARTBEAT' | 'BYE'>
  | (MessageOf<'FAILED'> & { frames: readonly Uint8Array[] })
  | (MessageOf<'PROGRESS'> & { pixels?: Uint8Array })
  | (MessageOf<'RESULT'> & { pixels: Uint8Array })

/** A message to a worker. `frames` holds those of a GENERATE's `pictures` and then of its `states`, in order. */
export type GatewayMessage =
  | MessageOf<'WELCOME' | 'REFUSED' | 'PING' | 'CANCEL' | 'DRAIN'>
  | (MessageOf<'GENERATE'> & { frames?: readonly Uint8Array[] })

type MessageOf<K extends Kind> = { [N in K]: { kind: N; header: Headers[N] } }[K]

/** Longer headers are malformed, in bytes. */
export const MAX_HEADER_BYTES = 1024 * 1024

/** Encodes a message to a worker. Copies no pixels. */
export function pack(message: GatewayMessage): Uint8Array[] {
  const frames = message.kind === 'GENERATE' ? (message.frames ?? []) : []
  return [
    Buffer.from([KINDS[message.kind], versionOf(message)]),
    Buffer.from(JSON.stringify(message.header)),
    ...frames
  ]
}

function versionOf({ kind, header }: GatewayMessage): number {
  if (kind !== 'GENERATE') return PROTOCOL_VERSION
  if (header.states !== undefined) return STATES_VERSION
  return header.pictures === undefined ? PROTOCOL_VERSION : PICTURES_VERSION
}

/** Why a message was dropped. The golden frames use the same reasons on both sides. */
export type Malformation =
  'prefix' | 'version' | 'kind' | 'header_size' | 'header_json' | 'header_field' | 'binary_count' | 'binary_size'

export class MalformedMessage extends Error {
  readonly reason: Malformation
  constructor(reason: Malformation, message: string) {
    super(message)
    this.reason = reason
  }
}
