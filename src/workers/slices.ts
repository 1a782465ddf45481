import { setImmediate as nextTurn } from 'node:timers/promises'

/** How long one turn of the event loop goes on with messages, in ms. */
const SLICE_MS = 5

/**
 * Divides a loop over messages into slices. zeromq.js takes up to 512 waiting messages in one turn of the event loop:
 * hundreds of images, while no probe is answered.
 */
export class Slices {
  #began: number | undefined
  #pausedAt = -Infinity

  /** To be awaited after each message: waits for the next turn if this one has had its share. */
  pause(): Promise<void> | undefined {
    if (this.#began === undefined) {
      this.#began = performance.now()
      setImmediate(() => (this.#began = undefined))
      return undefined
    }
    if (performance.now() - this.#began < SLICE_MS) return undefined
    this.#pausedAt = performance.now()
    return nextTurn()
  }

  /** Whether the loop had to pause in the last `ms`, so more messages may wait. */
  pausedWithin(ms: number): boolean {
    return performance.now() - this.#pausedAt <= ms
  }
}
