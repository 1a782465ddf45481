import type { Log } from '../logger.js'
import type { ServedModel, Turns } from './served-model.js'

/** How long a model that could not be loaded waits for its next turn, in ms. */
const RETRY_MS = 60_000

export interface SharedDeviceOptions {
  /** Its name, for logs. */
  name: string
  /** The models that share it, the one to keep first. */
  models: readonly ServedModel[]
  /** ms that a model with work keeps the device while requests for another one wait */
  swapWait: number
  /** Starts the workers of a model. */
  start: (model: ServedModel) => void
  /** Stops the workers of a model. Resolves when their processes have ended. */
  stop: (model: ServedModel) => Promise<void>
  /** A model took the device over and was ready after this many seconds. */
  onSwap: (model: ServedModel, seconds: number) => void
  log: Log
  /** Monotonic clock in ms. */
  now: () => number
}

/**
 * Models that take turns on one device: the workers of at most one of them run.
 *
 * At the start each model is loaded once, the first one last, so that the server knows what each offers and how long
 * loading takes; each compiles all its sizes then. From then on a model is loaded when requests for it wait and the
 * loaded one either has no work, or has kept them waiting for `swapWait` ms. In the second case the loaded model gets no more jobs and first finishes those
 * that its workers have. So no image runs during a swap, and two busy models alternate at most every `swapWait` ms.
 */
export class SharedDevice implements Turns {
  readonly #options: SharedDeviceOptions
  /** The model whose workers run or start. */
  #loaded: ServedModel
  /** When its workers began to start, or the swap to it began, in ms. */
  #decidedAt: number
  /** When it was ready; undefined while it loads. */
  #readyAt: number | undefined
  /** Whether a worker has died while it loads. */
  #failed = false
  /** The models that have compiled all their sizes once. */
  readonly #prepared = new Set<ServedModel>()
  /** When a model that could not be loaded may try again, in ms. */
  readonly #retryAt = new Map<ServedModel, number>()
  /** The model to load once the workers of the loaded one have ended; undefined if no swap has begun. */
  #next: ServedModel | undefined

  /** Begins with the last model. */
  constructor(options: SharedDeviceOptions) {
    this.#options = options
    this.#loaded = options.models.at(-1)!
    this.#decidedAt = options.now()
    for (const model of options.models) model.takeTurns(this)
  }

  has(model: ServedModel): boolean {
    return model === this.#loaded && this.#next === undefined
  }

  expects(model: ServedModel): boolean {
    return (this.#retryAt.get(model) ?? 0) <= this.#options.now() && !(this.has(model) && this.#failed)
  }

  /** Assumes that the present model keeps the device until it has no work, but at most for `swapWait`. */
  delayOf(model: ServedModel): number {
    const { now, swapWait } = this.#options
    const holder = this.#next ?? this.#loaded
    const loading = this.#next !== undefined || this.#readyAt === undefined
    const untilReady = loading ? Math.max(0, (holder.swapSeconds ?? 0) - (now() - this.#decidedAt) / 1000) : 0
    if (model === holder) return untilReady
    const untilFree = Math.max(untilReady, Math.min(holder.backlogSeconds ?? 0, untilReady + swapWait / 1000))
    return untilFree + (model.swapSeconds ?? 0)
  }

  /** A worker of the loaded model is ready. */
  ready(model: ServedModel): void {
    if (!this.has(model) || this.#readyAt !== undefined) return
    const { now, onSwap, log, name } = this.#options
    this.#readyAt = now()
    this.#failed = false
    const seconds = (this.#readyAt - this.#decidedAt) / 1000
    model.swapSeconds = seconds
    onSwap(model, seconds)
    log.info({ device: name, model: model.name, seconds }, `loaded ${model.name} on ${name} in ${seconds.toFixed(1)} s`)
  }

  /** A worker process of a model has died. */
  died(model: ServedModel): void {
    if (model === this.#loaded && this.#loading) {
      this.#failed = true
      this.#readyAt = undefined
      this.#decidedAt = this.#options.now()
    }
  }

  /** Swaps the models if it is time to. Call it once per tick. */
  tick(): void {
    if (this.#next !== undefined) return
    if (this.#readyAt !== undefined && this.#loaded.complete) this.#prepared.add(this.#loaded)
    const next = this.#longestWaiting()
    const yields = next !== undefined && this.#yieldsTo(next)
    this.#loaded.setPaused(yields)
    if (yields && !this.#loaded.busy) void this.#swap(next)
  }

  /** The model that has waited longest for the device, if any. Models that were never loaded come first, the last first. */
  #longestWaiting(): ServedModel | undefined {
    const waiting = this.#options.models.filter(
      (model) => model !== this.#loaded && this.#wantedSince(model) < Infinity
    )
    return waiting.toReversed().toSorted((a, b) => this.#wantedSince(a) - this.#wantedSince(b))[0]
  }

  /**
   * Whether the loaded model is not ready, or compiles some of its sizes for the first time. Requests for those sizes are
   * refused, so no request would have it loaded again to compile them.
   */
  get #loading(): boolean {
    return this.#readyAt === undefined || !this.#prepared.has(this.#loaded)
  }

  #wantedSince(model: ServedModel): number {
    if ((this.#retryAt.get(model) ?? 0) > this.#options.now()) return Infinity
    return model.capabilities === undefined ? 0 : (model.oldestQueuedAt ?? Infinity)
  }

  #yieldsTo(next: ServedModel): boolean {
    // Loading may take longer than swapWait. Give up only after a worker has died.
    if (this.#loading) return this.#failed
    if (!this.#loaded.busy && this.#loaded.queued === 0 && this.#loaded.complete) return true
    return this.#options.now() - Math.max(this.#wantedSince(next), this.#readyAt ?? 0) >= this.#options.swapWait
  }

  async #swap(next: ServedModel): Promise<void> {
    const { name, log, now, start, stop } = this.#options
    const last = this.#loaded
    log.info({ device: name, from: last.name, to: next.name }, `swapping ${last.name} for ${next.name} on ${name}`)
    this.#next = next
    this.#decidedAt = now()
    if (this.#failed) this.#retryAt.set(last, now() + RETRY_MS)
    await stop(last)
    last.setPaused(false)
    this.#loaded = next
    this.#readyAt = undefined
    this.#failed = false
    this.#next = undefined
    start(next)
  }
}
