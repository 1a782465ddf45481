import type { Share } from '../workers/fair-queue.js'
import type { Job } from '../workers/job.js'
import { EaselError } from '../errors.js'
import type { Hold, MemoryBudget } from '../memory.js'
import type { Size } from '../pictures/pixels.js'
import { MEMORY_RETRY_SECONDS, NOT_READY_RETRY_SECONDS } from './failures.js'
import type { HeldRequests } from './held-requests.js'
import type { Model } from './models.js'
import type { Run } from './run.js'
import { CLIENT_BYTES, pixelBytesOf } from './run-memory.js'
import type { Concurrency } from './concurrency.js'

/** Smallest `Retry-After`, in seconds. */
const MIN_RETRY_SECONDS = 1

export interface AdmissionOptions {
  /** Whether the server is shutting down. */
  draining: () => boolean
  concurrency: Concurrency
  memory: MemoryBudget
  /** Most requests in flight for each model: accepted and not ended. */
  queueLimit: number
  /** Whether requests wait while no worker is connected. */
  holdRequests: boolean
  held: HeldRequests
}

/** Admission control: accepts a request, or says when to retry. Changes no state and starts no work. */
export class Admission {
  readonly #options: AdmissionOptions

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  /** @throws EaselError DRAINING or NOT_READY */
  refuseUnlessReady({ served, name }: Model): void {
    if (this.#options.draining()) throw new EaselError('DRAINING', undefined, { retryAfter: NOT_READY_RETRY_SECONDS })
    if (served.problem !== undefined)
      throw new EaselError('NOT_READY', "the server's defaults do not fit its model; GET /health names the option", {
        retryAfter: NOT_READY_RETRY_SECONDS
      })
    // Without capabilities nothing can be decided about a request: see HeldRequests.
    const waits = this.#options.holdRequests && served.capabilities !== undefined
    if (!served.ready && !waits)
      throw new EaselError('NOT_READY', name && `no worker of the model ${name} is ready`, {
        retryAfter: NOT_READY_RETRY_SECONDS
      })
  }

  /**
   * @param most limit on the scope's requests in flight
   * @throws EaselError QUEUE_FULL or CONCURRENCY_LIMITED
   */
  refuseWhenFull(model: Model, scope: string, most: number): void {
    const { queueLimit, held } = this.#options
    if (model.ledger.inFlight + held.countOf(model) >= queueLimit)
      throw new EaselError('QUEUE_FULL', `the queue is full: ${queueLimit} requests are in flight`, {
        retryAfter: retryAfter(model)
      })
    this.refuseOverConcurrency(model, scope, most)
  }

  /**
   * @param most limit on the scope's requests, each counted until its answer is read
   * @throws EaselError CONCURRENCY_LIMITED
   */
  refuseOverConcurrency(model: Model, scope: string, most: number): void {
    const { concurrency, held } = this.#options
    if (concurrency.of(scope) + held.countOfScope(scope) >= most) throw this.overConcurrency(model, scope, most)
  }

  overConcurrency(model: Model, scope: string, most: number): EaselError {
    return new EaselError(
      'CONCURRENCY_LIMITED',
      `${scope} may have at most ${most} requests in flight; each counts until its answer is read`,
      { retryAfter: retryAfter(model) }
    )
  }

  /**
   * Refuses what several workers can do only together: each part of the request is offered, by different workers.
   *
   * @param picture the field that has the job's picture
   * @throws EaselError UNSUPPORTED_FEATURE with the field; NOT_READY if a worker that can do all still compiles it
   */
  refuseUnlessOneWorker({ served }: Model, job: Job, picture: 'image' | 'hires' = 'image'): void {
    const chance = served.chanceOf(job)
    if (chance.when === 'now') return
    if (chance.when === 'later')
      throw new EaselError(
        'NOT_READY',
        'the only workers that can do all of this request are still compiling programs for it; retry later',
        { retryAfter: NOT_READY_RETRY_SECONDS }
      )
    const field = chance.field === 'image' ? picture : chance.field
    if (field === undefined)
      throw new EaselError(
        'UNSUPPORTED_FEATURE',
        'no worker can do all of this request: leave out some of its options, which different workers have'
      )
    throw new EaselError(
      'UNSUPPORTED_FEATURE',
      `${field} cannot be combined with the rest of this request: no single worker can do both; ${field === 'prompt' ? 'shorten it' : 'leave it out'}`,
      { field }
    )
  }

  /**
   * Refuses images that would not fit even if all running requests were done. Counts only what answers hold: pixels and
   * files free themselves, but an answer waits for its clients to read it.
   *
   * @throws EaselError LIMIT_EXCEEDED or MEMORY_FULL
   */
  refuseUnlessRoom({ width, height, images: count }: Size & { readonly images: number }): void {
    const { memory } = this.#options
    const needed = pixelBytesOf({ width, height, images: count }) + CLIENT_BYTES
    const most = memory.most('pixels')
    if (needed > most) {
      const images = Math.floor((most - CLIENT_BYTES) / pixelBytesOf({ width, height, images: 1 }))
      if (images === 0)
        throw new EaselError(
          'LIMIT_EXCEEDED',
          `an image of ${width}x${height} does not fit into this server's memory (MEMORY_BUDGET)`
        )
      throw new EaselError(
        'LIMIT_EXCEEDED',
        `num_images must be at most ${images} at ${width}x${height}: this server has no memory for more at once (MEMORY_BUDGET)`,
        { field: 'num_images' }
      )
    }
    if (memory.used('answers') + needed > most) throw memoryFull()
  }

  /**
   * Holds memory for the decoded pictures of a request.
   *
   * @param field the one that needs them
   * @throws EaselError LIMIT_EXCEEDED or MEMORY_FULL
   */
  holdInputs(
    { width, height }: Size,
    bytes: number,
    field: 'image' | 'hires' | 'controls' | 'ip_adapters' = 'image'
  ): Hold {
    const { memory } = this.#options
    const hold = memory.tryHold('inputs', bytes)
    if (hold !== undefined) return hold
    if (bytes <= memory.most('inputs')) throw memoryFull()
    throw new EaselError(
      'LIMIT_EXCEEDED',
      `${field} must be left out at ${width}x${height}: this server has no memory for pictures of this size (MEMORY_BUDGET)`,
      { field }
    )
  }

  /** @throws EaselError MEMORY_FULL when there is no memory for one more client of the run */
  refuseUnlessReadable(run: Run): void {
    const { memory } = this.#options
    const files = run.ended && run.clients === 0 ? run.bytes : 0
    if (memory.used('answers') + files + CLIENT_BYTES > memory.most('answers')) throw memoryFull()
  }

  /**
   * @param timeout ms
   * @throws EaselError DEADLINE_UNREACHABLE
   */
  refuseUnlessInTime({ served }: Model, job: Job, share: Share, timeout: number): void {
    const seconds = served.secondsFor(job, share)
    if (seconds === undefined || seconds * 1000 <= timeout) return
    const limit = `its time limit is ${(timeout / 1000).toFixed(1)} s`
    const alone = served.secondsLeft(job.scheduler, job.steps)
    // No Retry-After: a retry with the same timeout cannot succeed.
    if (alone !== undefined && alone * 1000 > timeout)
      throw new EaselError(
        'DEADLINE_UNREACHABLE',
        `the request takes about ${alone.toFixed(1)} s even on an idle server, and ${limit}; allow more time or fewer steps`,
        { field: 'timeout' }
      )
    throw new EaselError(
      'DEADLINE_UNREACHABLE',
      `the request would be done in about ${seconds.toFixed(1)} s, and ${limit}`,
      {
        field: 'timeout',
        retryAfter: atLeast(seconds - timeout / 1000)
      }
    )
  }
}

/** When half of the model's accepted requests will be done. It varies with the backlog, which spreads the retries out. */
function retryAfter({ served }: Model): number {
  return atLeast(served.halfBacklogSeconds ?? 0)
}

function memoryFull(): EaselError {
  return new EaselError('MEMORY_FULL', undefined, { retryAfter: MEMORY_RETRY_SECONDS })
}

function atLeast(seconds: number): number {
  return Math.max(MIN_RETRY_SECONDS, Math.ceil(seconds))
}
