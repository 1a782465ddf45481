import type { ModelLimits } from '../parameters.js'

/** The wire, version 1, as protocol/README.md defines it. Types and framing only. */

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

export interface TokenIds {
  /** Ids for the first text encoder. */
  ids: readonly number[]
  /** Ids for the second text encoder. */
  ids_2: readonly number[]
}

export interface Hello {
  protocol: number
  worker: string
  version: string
  pid: number
  model: { id: string; digest: string; dtype: string }
  tokenizers: { digest: string; pad_id: number; max_length: number }[]
  sizes: [width: number, height: number][]
  rows: number
  schedulers: string[]
  defaults: {
    width: number
    height: number
    num_inference_steps: number
    guidance_scale: number
    scheduler: string
    negative_prompt: string
  }
  limits: ModelLimits
  devices: { id: number; kind: string }[]
  programs: { name: string; seconds: number; cached: boolean }[]
  /** Sizes that are still being compiled. */
  coming?: [width: number, height: number][]
  /** What not every worker can do. */
  features?: string[]
}

export interface Heartbeat {
  session: string
  steps_total: number
  rows_in_use: number
  rows_padded_total: number
  queued: number
  step_ms: number[]
  memory: { device: number; bytes_in_use: number; bytes_limit: number }[]
  /** As in Hello, now. */
  sizes?: [width: number, height: number][]
  /** Images that failed because their numbers were not finite, by where that was seen first. */
  not_finite?: { text_encoder: number; denoise: number; decode: number }
}

export interface Progress {
  id: string
  image: number
  stage: 'encoding' | 'denoising' | 'decoding'
  step: number
  of: number
  preview?: { width: number; height: number }
}

export interface Timings {
  queue_ms: number
  encode_ms: number
  denoise_ms: number
  decode_ms: number
}

export interface Result {
  id: string
  image: number
  seed: number
  width: number
  height: number
  timings: Timings
}

export interface Failed {
  id: string
  code: 'invalid' | 'cancelled' | 'expired' | 'draining' | 'out_of_memory' | 'internal'
  message: string
}

export interface Generate {
  readonly id: string
  readonly prompt: TokenIds
  readonly negative: TokenIds | null
  /** One uint32 for each image. */
  readonly seeds: readonly number[]
  readonly steps: number
  readonly guidance: number
  readonly scheduler: string
  readonly width: number
  readonly height: number
  readonly clip_skip?: number
  /** Send a preview every so many steps; 0 for none. */
  readonly preview_every?: number
  readonly timeout_ms?: number
  /** W3C traceparent, for the worker's logs. */
  readonly trace?: string
  readonly guidance_start?: number
  readonly guidance_end?: number
  readonly cache_interval?: number
}

/** A worker's message: the header by kind, and the binary that comes with it. */
export type WorkerMessage =
  | { kind: 'HELLO'; header: Hello }
  | { kind: 'HEARTBEAT'; header: Heartbeat }
  | { kind: 'PROGRESS'; header: Progress; pixels?: Uint8Array }
  | { kind: 'RESULT'; header: Result; pixels: Uint8Array }
  | { kind: 'FAILED'; header: Failed }
  | { kind: 'BYE'; header: { reason: string } }

export type GatewayMessage =
  | { kind: 'WELCOME'; header: { session: string; heartbeat_ms: number } }
  | { kind: 'REFUSED'; header: { code: 'protocol' | 'tokenizer' | 'model'; message: string } }
  | { kind: 'PING'; header: { session: string } }
  | { kind: 'GENERATE'; header: Generate }
  | { kind: 'CANCEL'; header: { id: string } }
  | { kind: 'DRAIN'; header: { grace_ms: number } }

/** Largest header that is read, in bytes. */
export const MAX_HEADER_BYTES = 1024 * 1024

/** The frames of a message to a worker (none of them has binary frames in version 1). */
export function pack(message: GatewayMessage): Buffer[] {
  return [Buffer.from([KINDS[message.kind], PROTOCOL_VERSION]), Buffer.from(JSON.stringify(message.header))]
}

/** Why a message was dropped; the golden frames name the same reasons for both sides. */
export type Malformation = 'prefix' | 'version' | 'kind' | 'header_size' | 'header_json' | 'header_field' | 'binary_count' | 'binary_size'

export class MalformedMessage extends Error {
  readonly reason: Malformation
  constructor(reason: Malformation, message: string) {
    super(message)
    this.reason = reason
  }
}
