import { setTimeout as sleep } from 'node:timers/promises'

/** What has come to the socket is read within so many short waits: libzmq's thread takes it in, then the event loop does. */
const WAITS = 5
const WAIT_MS = 20

/**
 * Counts the gateway's looks at its workers, one for each heartbeat interval, where a clock would blame them for its own
 * stalls: a time in which the gateway stood still (a paused machine, a long garbage collection) is one look, however long.
 */
export class Looks {
  readonly #intervalMs: number
  #count = 0

  /** @param intervalMs ms between two looks */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs
  }

  /** The present look. */
  get now(): number {
    return this.#count
  }

  next(): void {
    this.#count += 1
  }

  /** Whether more than `ms` have passed since the look `since`, as far as looks tell: at most two intervals later than by a clock. */
  over(since: number, ms: number): boolean {
    return this.#count - since > Math.ceil(ms / this.#intervalMs)
  }
}

/** Resolves when what had come to the socket before the call has been read, even if the process stands still meanwhile. */
export async function allRead(): Promise<void> {
  for (let wait = 0; wait < WAITS; wait++) await sleep(WAIT_MS, undefined, { ref: false })
}
