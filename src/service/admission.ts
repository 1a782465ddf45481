import type { Engine } from '../engine/engine.js'
import type { Job } from '../engine/job.js'
import { EaselError } from '../errors.js'
import { NOT_READY_RETRY_SECONDS } from './failures.js'
import type { Ledger } from './ledger.js'
import type { Shares } from './shares.js'

/** Least `Retry-After`, in seconds. */
const MIN_RETRY_SECONDS = 1

export interface AdmissionOptions {
  engine: Engine
  ledger: Ledger
  shares: Shares
  /** Most requests that are accepted and not yet answered. */
  queueLimit: number
}

/** The door: who is let in, and when to come again who is not. It is asked before any work is done, and does none. */
export class Admission {
  readonly #options: AdmissionOptions

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  /** @throws EaselError DRAINING or NOT_READY */
  refuseUnlessReady(): void {
    const { engine } = this.#options
    if (engine.draining) throw new EaselError('DRAINING', undefined, { retryAfter: NOT_READY_RETRY_SECONDS })
    if (!engine.ready) throw new EaselError('NOT_READY', undefined, { retryAfter: NOT_READY_RETRY_SECONDS })
  }

  /**
   * @param most requests of the scope that may be in flight
   * @throws EaselError QUEUE_FULL or CONCURRENCY_LIMITED
   */
  refuseWhenFull(scope: string, most: number): void {
    const { ledger, shares, queueLimit } = this.#options
    if (ledger.inFlight >= queueLimit) throw new EaselError('QUEUE_FULL', `${queueLimit} requests wait already`, { retryAfter: this.#retryAfter() })
    if (shares.of(scope) >= most) throw new EaselError('CONCURRENCY_LIMITED', `${scope} may have ${most} requests in flight`, { retryAfter: this.#retryAfter() })
  }

  /**
   * @param timeout ms
   * @throws EaselError DEADLINE_UNREACHABLE
   */
  refuseUnlessInTime(job: Job, timeout: number): void {
    const seconds = this.#options.engine.secondsFor(job)
    if (seconds === undefined || seconds * 1000 <= timeout) return
    const message = `it would be done in about ${seconds.toFixed(1)} s, and its time is ${(timeout / 1000).toFixed(1)} s`
    throw new EaselError('DEADLINE_UNREACHABLE', message, { field: 'timeout', retryAfter: atLeast(seconds - timeout / 1000) })
  }

  /** By then half of those that wait have gone: whoever was refused meanwhile does not come back all at once. */
  #retryAfter(): number {
    return atLeast(this.#options.engine.halfBacklogSeconds ?? 0)
  }
}

function atLeast(seconds: number): number {
  return Math.max(MIN_RETRY_SECONDS, Math.ceil(seconds))
}
