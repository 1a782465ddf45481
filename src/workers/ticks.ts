/**
 * Measures timeouts in ticks, one per heartbeat interval, instead of by a clock. A clock would blame workers for the
 * gateway's own stalls (a paused machine, a long garbage collection); a stall of any length is one tick.
 */
export class TickCounter {
  readonly #intervalMs: number
  #count = 0

  /** @param intervalMs ms between two ticks */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs
  }

  /** The number of the current tick. */
  get now(): number {
    return this.#count
  }

  next(): void {
    this.#count += 1
  }

  /** Whether more than `ms` have passed since the tick `since`. Up to two intervals later than a clock would say so. */
  passed(since: number, ms: number): boolean {
    return this.#count - since > Math.ceil(ms / this.#intervalMs)
  }
}
