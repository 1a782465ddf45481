import type { ChipSeconds } from '../workers/chip-ledger.js'
import { JobError } from '../workers/job.js'
import type { EaselError } from '../errors.js'
import type { Format } from '../image/formats.js'
import type { Recipe } from '../image/recipe.js'
import { toEaselError } from './failures.js'
import { once } from './once.js'
import type { PromptReport } from './prompt-job.js'

/** Duration of each stage of a request, in ms. */
export interface RunTimings {
  readonly queue_ms: number
  readonly encode_ms: number
  readonly denoise_ms: number
  readonly decode_ms: number
  /** Encoding the pixels into the file. */
  readonly file_ms: number
  readonly total_ms: number
}

/** One image of a request as an encoded file. */
export interface ImageFile {
  readonly index: number
  readonly seed: number
  readonly format: Format
  readonly width: number
  readonly height: number
  readonly bytes: Buffer
  readonly recipe: Recipe
}

/** The result of a request that succeeded. */
export interface Finished {
  readonly images: readonly ImageFile[]
  readonly timings: RunTimings
  /** What all images have used; undefined if their workers do not say. */
  readonly used?: ChipSeconds | undefined
}

export type RunEvent =
  | { readonly type: 'queued'; readonly position: number; readonly estimate_seconds: number | null }
  | { readonly type: 'started' }
  | {
      readonly type: 'progress'
      readonly image: number
      readonly step: number
      readonly of: number
      readonly eta_seconds: number | null
    }
  | {
      readonly type: 'preview'
      readonly image: number
      readonly step: number
      readonly width: number
      readonly height: number
      readonly jpeg: Buffer
    }
  | { readonly type: 'image'; readonly image: ImageFile }
  | { readonly type: 'error'; readonly error: EaselError }
  | { readonly type: 'done'; readonly timings: RunTimings; readonly used?: ChipSeconds | undefined }

/** An event with its number. Numbers increase. */
export type Numbered = RunEvent & { readonly number: number }

export interface RunOptions {
  /** The name its client uses for it; not unique. */
  id: string
  /** ms after which it expires. */
  timeout: number
  /** ms that it keeps running after its last client has left; 0 stops it at once. */
  abandonAfter: number
  prompts: PromptReport
}

/** Events of which only the latest (per image, if it has one) is kept. */
const SUPERSEDED: ReadonlySet<RunEvent['type']> = new Set(['queued', 'progress', 'preview'])

/**
 * An accepted request: its events, its clients, and its single end.
 *
 * Clients may come and go. The run ends when it finishes or fails, when it expires, when it is cancelled, or when its
 * last client has left for `abandonAfter` ms.
 */
export class Run {
  readonly id: string
  readonly prompts: PromptReport
  /** Settles when the run ends. */
  readonly finished: Promise<Finished>
  readonly #controller = new AbortController()
  readonly #abandonAfter: number
  readonly #watchers = new Set<() => void>()
  readonly #changes: (() => void)[] = []
  readonly #cleanups: ((error: EaselError | undefined) => void)[] = []
  readonly #expiry: NodeJS.Timeout
  #events: Numbered[] = []
  #lastNumber = 0
  #clients = 0
  #requests = 0
  #keepers = 0
  #abandoning: NodeJS.Timeout | undefined
  #ended = false
  #resolve!: (finished: Finished) => void
  #reject!: (error: EaselError) => void

  constructor({ id, timeout, abandonAfter, prompts }: RunOptions) {
    this.id = id
    this.prompts = prompts
    this.#abandonAfter = abandonAfter
    this.finished = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Avoid an unhandled rejection: a run may fail after its clients have left.
    this.finished.catch(() => undefined)
    this.#expiry = setTimeout(() => this.#stop('expired', 'the request did not finish before its deadline'), timeout)
  }

  /** Aborts when the run must stop. The reason is a JobError. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Size of its image files so far, in bytes. */
  get bytes(): number {
    return this.#events.reduce((sum, event) => sum + (event.type === 'image' ? event.image.bytes.length : 0), 0)
  }

  /** Number of clients that wait for it, read its answer, or watch it. */
  get clients(): number {
    return this.#clients
  }

  /** Whether its answer is kept for future clients. */
  get kept(): boolean {
    return this.#keepers > 0
  }

  /** How many requests it counts as: its clients that asked for images, and at least 1 until it ends. */
  get weight(): number {
    return Math.max(this.#requests, this.#ended ? 0 : 1)
  }

  /** Calls `listener` now, and whenever clients or keepers change or the run ends. */
  onChange(listener: () => void): void {
    this.#changes.push(listener)
    listener()
  }

  /** Keeps the answer for future clients until the returned function is called. */
  keep(): () => void {
    this.#keepers += 1
    this.#changed()
    return once(() => {
      this.#keepers -= 1
      this.#changed()
    })
  }

  /** Stops the run for all its clients. */
  cancel(): void {
    this.#stop('cancelled', 'the request was cancelled')
  }

  /**
   * Attaches a client. Call the returned function when the client has read the answer or left.
   *
   * @param asks false for a client that only watches; watchers do not count toward `weight`
   */
  attach(asks = true): () => void {
    this.#clients += 1
    if (asks) this.#requests += 1
    clearTimeout(this.#abandoning)
    this.#changed()
    return once(() => {
      this.#clients -= 1
      if (asks) this.#requests -= 1
      this.#changed()
      if (this.#clients === 0) this.#abandon()
    })
  }

  /** The first kept event after a number. A slow reader skips events that newer ones have superseded. */
  eventAfter(number: number): Numbered | undefined {
    return this.#events.find((event) => event.number > number)
  }

  /** Calls `watcher` on each new event until the returned function is called. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  emit(event: RunEvent): void {
    if (this.#ended) return
    const numbered = { ...event, number: (this.#lastNumber += 1) }
    if (SUPERSEDED.has(event.type)) this.#events = this.#events.filter((kept) => !supersedes(event, kept))
    this.#events.push(numbered)
    for (const watcher of this.#watchers) watcher()
  }

  /** Registers `cleanup` to run at the end, before `finished` settles. */
  onEnd(cleanup: (error: EaselError | undefined) => void): void {
    this.#cleanups.push(cleanup)
  }

  succeed(finished: Finished): void {
    this.#end({ type: 'done', timings: finished.timings, used: finished.used }, undefined)
    this.#resolve(finished)
  }

  fail(cause: unknown): void {
    const error = toEaselError(cause)
    this.#end({ type: 'error', error }, error)
    this.#reject(error)
  }

  #end(event: RunEvent, error: EaselError | undefined): void {
    if (this.#ended) return
    this.emit(event)
    this.#ended = true
    clearTimeout(this.#expiry)
    clearTimeout(this.#abandoning)
    for (const cleanup of this.#cleanups) cleanup(error)
    this.#changed()
  }

  #changed(): void {
    for (const listener of this.#changes) listener()
  }

  #abandon(): void {
    if (this.#ended) return
    const stop = () => this.#stop('cancelled', 'the client left')
    if (this.#abandonAfter === 0) stop()
    else this.#abandoning = setTimeout(stop, this.#abandonAfter)
  }

  #stop(failure: 'cancelled' | 'expired', message: string): void {
    if (!this.#ended) this.#controller.abort(new JobError(failure, message))
  }
}

function supersedes(event: RunEvent, kept: RunEvent): boolean {
  return event.type === kept.type && (!('image' in event) || event.image === (kept as typeof event).image)
}
