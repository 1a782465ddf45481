import { EaselError } from '../errors.js'
import { unlessAborted } from '../unless-aborted.js'
import { NOT_READY_RETRY_SECONDS } from './failures.js'
import type { Model } from './models.js'

/** A request that waits until its model has had a worker. */
export interface Held {
  /** The name of its key; empty without keys. */
  readonly scope: string
  readonly images: number
}

/**
 * Chip-seconds that an image counts for while nothing is known of its model: a guided one of 1024x1024 and 30 steps on
 * a v5e, computed.
 */
const NOMINAL_IMAGE_SECONDS = 3.5

/**
 * Requests that wait, before they are accepted, until their model has had a worker: only then is it known what can be
 * requested. The server decides how many may wait; each leaves when its worker comes, its time is over, its client
 * leaves, or the server shuts down.
 */
export class HeldRequests {
  readonly #held = new Map<Model, Set<Held>>()
  readonly #drained = new AbortController()

  /** How many wait for a model. */
  countOf(model: Model): number {
    return this.#of(model).size
  }

  /** How many of a key wait. */
  countOfScope(scope: string): number {
    return this.#all().filter((held) => held.scope === scope).length
  }

  /** Chip-seconds that those of a model will take, roughly. */
  chipSecondsOf(model: Model): number {
    return [...this.#of(model)].reduce((sum, { images }) => sum + images * NOMINAL_IMAGE_SECONDS, 0)
  }

  /**
   * Waits for the model's first worker, in order of arrival.
   *
   * @param timeout ms
   * @param left fires when the client has left
   * @throws EaselError DEADLINE_EXCEEDED, DRAINING, or what `left` says
   */
  async wait(model: Model, held: Held, timeout: number, left: AbortSignal): Promise<void> {
    const all = this.#of(model)
    const late = new AbortController()
    const expiry = setTimeout(
      () => late.abort(new EaselError('DEADLINE_EXCEEDED', 'no worker was connected before its deadline')),
      timeout
    )
    this.#held.set(model, all.add(held))
    try {
      await unlessAborted(model.served.firstReady, AbortSignal.any([left, late.signal, this.#drained.signal]))
    } finally {
      clearTimeout(expiry)
      all.delete(held)
    }
  }

  /** Refuses those that wait, and every later one. */
  drain(): void {
    this.#drained.abort(new EaselError('DRAINING', undefined, { retryAfter: NOT_READY_RETRY_SECONDS }))
  }

  #of(model: Model): Set<Held> {
    return this.#held.get(model) ?? new Set()
  }

  #all(): readonly Held[] {
    return [...this.#held.values()].flatMap((held) => [...held])
  }
}
