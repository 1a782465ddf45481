import { setTimeout as sleep } from 'node:timers/promises'
import { EaselError, type ErrorCode } from '../errors.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Caller } from '../service/caller.js'
import { toEaselError } from '../service/failures.js'
import type { Prepared } from '../service/preparer.js'
import { picturesOf } from '../service/request-pictures.js'
import type { Run } from '../service/run.js'
import type { ImageService, Submitted } from '../service/service.js'
import type { UploadStore } from '../uploads/store.js'
import { type HalfDoneOptions, readHalfDone } from './half-done.js'
import type { Places } from './places.js'
import { followProgress } from './progress.js'
import type { Claim, JobEnd } from './store.js'
import { failureOf, type Submission } from './submission.js'
import { JobWriter, type Making, type WriterOptions } from './writer.js'
import { Repeater } from '../repeater.js'

export interface ConsumerOptions extends WriterOptions, HalfDoneOptions {
  service: ImageService
  places: Places
  uploads: UploadStore
  /** Names this gateway in the store. */
  owner: string
}

/** Claims that wait for a worker: enough to fill its rows, few enough for the store to keep the order of callers. */
const AHEAD = 4

/** Refusals that say nothing about the job: it goes back, to be made later or elsewhere. */
const LATER: ReadonlySet<ErrorCode> = new Set([
  'QUEUE_FULL',
  'NOT_READY',
  'DRAINING',
  'MEMORY_FULL',
  'STORAGE_FULL',
  'CONCURRENCY_LIMITED',
  'JOB_STORE_UNAVAILABLE'
])

/** ms after which something that the store or the service refused is tried again. */
const AGAIN_MS = 1000

/** Makes the jobs of a store: claims them, runs them as requests, and writes how they ended. */
export class JobConsumer {
  readonly #options: ConsumerOptions
  readonly #writer: JobWriter
  readonly #making = new Set<Making>()
  readonly #busy = new Set<string>()
  readonly #closing = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #unwatch: () => void
  readonly #claiming = new Repeater(() => this.#claim())
  #pausedUntil = 0
  #tending = false

  constructor(options: ConsumerOptions) {
    this.#options = options
    const { store } = options
    this.#writer = new JobWriter(options, this.#closing.signal)
    this.#timer = setInterval(() => void this.#tick(), store.bounds.lease / 3)
    this.#timer.unref()
    this.#unwatch = store.onChange((_name, waits) => {
      if (waits) this.wake()
    })
  }

  /** Number of jobs that this gateway makes. */
  get making(): number {
    return this.#making.size
  }

  /** Claims jobs, if there are any and there is room for them. Call it when either may have come. */
  wake(): void {
    if (this.#closing.signal.aborted) return
    this.#claiming.ask()
  }

  /** Claims nothing more. */
  stop(): void {
    this.#closing.abort()
    this.#unwatch()
  }

  /** Waits until no job is made here any more. Call it after `stop`, and after the service has ended its requests. */
  async close(): Promise<void> {
    this.stop()
    await this.#claiming.rest()
    while (this.#making.size > 0) await sleep(5)
    clearInterval(this.#timer)
  }

  async #tick(): Promise<void> {
    const { store } = this.#options
    if (this.#tending) return
    this.#tending = true
    try {
      const lost = new Set(await store.renew([...this.#making].map(({ claim }) => claim)))
      for (const { claim, leave } of this.#making) if (lost.has(claim)) leave.abort()
      await store.tend(OUTCOMES)
      this.#options.files?.clean()
    } catch (error) {
      this.#writer.unlessAway(error)
    } finally {
      this.#tending = false
    }
    this.wake()
  }

  async #claim(): Promise<void> {
    const { store, owner } = this.#options
    try {
      while (this.#hasRoom()) {
        const claim = await store.claim(owner, this.#models(), [...this.#busy])
        if (claim === undefined) break
        await this.#begin(claim)
      }
    } catch (error) {
      this.#writer.unlessAway(error)
    }
  }

  #hasRoom(): boolean {
    const { service } = this.#options
    const all = [...this.#making]
    // Images that nobody takes stay in memory: no more of them.
    if (all.some(({ stuck }) => stuck)) return false
    const waiting = all.filter(({ started }) => !started).length
    return (
      !this.#closing.signal.aborted &&
      performance.now() >= this.#pausedUntil &&
      waiting < AHEAD &&
      this.#making.size < Math.max(1, Math.floor(service.queueLimit / 2)) &&
      this.#models().length > 0
    )
  }

  /** Names by which jobs of models that are ready may ask for them. */
  #models(): string[] {
    return this.#options.service.models.flatMap(({ name, served }, index) =>
      served.ready ? [...(index === 0 ? [''] : []), ...(name === undefined ? [] : [name])] : []
    )
  }

  /** Begins a job. Returns once it is accepted or refused. */
  async #begin(claim: Claim): Promise<void> {
    const making: Making = { claim, leave: new AbortController(), started: false, stuck: false, left: [] }
    this.#making.add(making)
    try {
      const run = await this.#submit(making)
      void this.#finish(making, run)
    } catch (error) {
      await this.#refused(making, toEaselError(error))
      this.#making.delete(making)
    }
  }

  async #submit(making: Making): Promise<{ run: Run; detach: () => void }> {
    const { claim } = making
    const { request, caller: said } = JSON.parse(claim.body) as Submission
    const { scope, id } = claim.name
    const caller: Caller = { id, scope, ...said, timeout: Math.max(1, claim.remaining) }
    return this.#options.places.during(request.model, caller, () => this.#submitAs(caller, request, making))
  }

  async #submitAs(caller: Caller, request: GenerateRequest, making: Making): Promise<Submitted> {
    const { claim } = making
    const prepared = claim.pictures.length === 0 ? undefined : await this.#prepare(making, request, caller)
    const from = await readHalfDone(claim, this.#options)
    try {
      return this.#options.service.submit(request, caller, prepared, {
        from,
        to: (images) => (making.left = images)
      })
    } catch (error) {
      for (const { memory } of from) memory.release()
      throw error
    }
  }

  async #prepare({ claim, leave }: Making, request: GenerateRequest, caller: Caller): Promise<Prepared | undefined> {
    const { service, uploads: store } = this.#options
    const uploads = store.open()
    try {
      for (const { field, read } of claim.pictures) await uploads.take(field, once(read))
      const files = picturesOf(uploads, request)
      return files && (await service.prepare(request, caller, files, leave.signal))
    } finally {
      uploads.close()
    }
  }

  async #refused(making: Making, error: EaselError): Promise<void> {
    const { claim } = making
    if (LATER.has(error.code) || (error.code === 'DEADLINE_UNREACHABLE' && error.retryAfter !== undefined)) {
      const { scope } = claim.name
      if (error.code === 'CONCURRENCY_LIMITED' && scope !== '') {
        this.#busy.add(scope)
        setTimeout(() => this.#free(scope), AGAIN_MS).unref()
      } else {
        this.#pausedUntil = performance.now() + AGAIN_MS
        setTimeout(() => this.wake(), AGAIN_MS).unref()
      }
      return this.#writer.giveBack(making, false)
    }
    await this.#writer.end(making, endOf(error), failureOf(error))
  }

  #free(scope: string): void {
    this.#busy.delete(scope)
    this.wake()
  }

  /** Follows a run to its end, and writes that. Never throws. */
  async #finish(making: Making, { run, detach }: { run: Run; detach: () => void }): Promise<void> {
    const { leave } = making
    const cancel = () => run.cancel()
    leave.signal.addEventListener('abort', cancel, { once: true })
    if (leave.signal.aborted) cancel()
    const unfollow = followProgress(run, (JSON.parse(making.claim.body) as Submission).request.num_images ?? 1, {
      started: () => {
        making.started = true
        this.wake()
      },
      report: (progress) => this.#writer.report(making, progress)
    })
    try {
      const finished = await run.finished
      await this.#writer.save(making, run, finished)
    } catch (error) {
      const failure = toEaselError(error)
      if (failure.code === 'DRAINING') await this.#writer.giveBack(making, true)
      else await this.#writer.end(making, endOf(failure), failureOf(failure))
    } finally {
      for (const { end } of making.left) end(false)
      unfollow()
      detach()
      this.#making.delete(making)
      this.wake()
    }
  }
}

/** How jobs end that no gateway can end. */
const OUTCOMES = {
  crashed: JSON.stringify(
    failureOf(new EaselError('WORKER_CRASHED', 'two gateways died, or lost the job store, while they made this job'))
  ),
  expired: JSON.stringify(failureOf(new EaselError('DEADLINE_EXCEEDED', 'the job did not end before its deadline')))
}

function endOf({ code }: EaselError): JobEnd {
  if (code === 'CANCELLED') return 'cancelled'
  return code === 'DEADLINE_EXCEEDED' || code === 'DEADLINE_UNREACHABLE' ? 'expired' : 'failed'
}

async function* once(read: () => Promise<Buffer>): AsyncGenerator<Buffer> {
  yield await read()
}
