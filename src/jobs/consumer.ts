import { createHash, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { EaselError, type ErrorCode } from '../errors.js'
import type { Log } from '../logger.js'
import type { Caller } from '../service/caller.js'
import { chipSecondsJson } from '../service/chip-seconds.js'
import { toEaselError } from '../service/failures.js'
import { picturesOf } from '../service/request-pictures.js'
import type { Finished, ImageFile, Run } from '../service/run.js'
import type { ImageService } from '../service/service.js'
import type { UploadStore } from '../uploads/store.js'
import type { JobFileStore } from './files.js'
import { failureOf, type Made, type Outcome, type Progress, type Submission } from './submission.js'
import type { Claim, JobEnd, JobFiles, JobStore } from './store.js'

export interface ConsumerOptions {
  store: JobStore
  /** Where images are, if not in the store. */
  files: JobFileStore | undefined
  service: ImageService
  uploads: UploadStore
  /** Names this gateway in the store. */
  owner: string
  withRecipe: boolean
  log: Log
  observer: ConsumerObserver
}

export interface ConsumerObserver {
  /** A job ended at this gateway. */
  jobEnded: (end: JobEnd) => void
  /** A claim ended without an end of its job: returned to the store, or lost to it. */
  jobLeft: (how: 'returned' | 'lost') => void
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
  'CONCURRENCY_LIMITED'
])

/** What the store says when it cannot take anything now. */
const AWAY: ReadonlySet<ErrorCode> = new Set(['JOB_STORE_UNAVAILABLE', 'JOBS_FULL'])

/** ms between two reports of a job's progress. */
const REPORT_MS = 1000
/** ms after which something that the store or the service refused is tried again. */
const AGAIN_MS = 1000

/** A job that this gateway makes. */
interface Making {
  readonly claim: Claim
  readonly leave: AbortController
  started: boolean
  /** Whether it is made, and a store does not take it. */
  stuck: boolean
}

/** Makes the jobs of a store: claims them, runs them as requests, and writes how they ended. */
export class JobConsumer {
  readonly #options: ConsumerOptions
  readonly #making = new Set<Making>()
  readonly #busy = new Set<string>()
  readonly #closing = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #unwatch: () => void
  #claiming: Promise<void> | undefined
  #again = false
  #pausedUntil = 0
  #tending = false

  constructor(options: ConsumerOptions) {
    this.#options = options
    const { store } = options
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
    this.#again = true
    this.#claiming ??= this.#claim().finally(() => {
      this.#claiming = undefined
    })
  }

  /** Claims nothing more. */
  stop(): void {
    this.#closing.abort()
    this.#unwatch()
  }

  /** Waits until no job is made here any more. Call it after `stop`, and after the service has ended its requests. */
  async close(): Promise<void> {
    this.stop()
    await this.#claiming
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
      this.#unlessAway(error)
    } finally {
      this.#tending = false
    }
    this.wake()
  }

  /** Logs what the store does not report itself. */
  #unlessAway(error: unknown): void {
    if (error instanceof EaselError && AWAY.has(error.code)) return
    this.#options.log.error({ err: error }, 'a job could not be looked after')
  }

  async #claim(): Promise<void> {
    const { store, owner } = this.#options
    while (this.#again && !this.#closing.signal.aborted) {
      this.#again = false
      try {
        while (this.#hasRoom()) {
          const claim = await store.claim(owner, this.#models(), [...this.#busy])
          if (claim === undefined) break
          await this.#begin(claim)
        }
      } catch (error) {
        this.#unlessAway(error)
      }
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
    const making: Making = { claim, leave: new AbortController(), started: false, stuck: false }
    this.#making.add(making)
    try {
      const run = await this.#submit(making)
      void this.#finish(making, run)
    } catch (error) {
      await this.#refused(making, toEaselError(error))
      this.#making.delete(making)
    }
  }

  async #submit({ claim, leave }: Making): Promise<{ run: Run; detach: () => void }> {
    const { service, uploads: store } = this.#options
    const { request, caller: said } = JSON.parse(claim.body) as Submission
    const { scope, id } = claim.name
    const caller: Caller = { id, scope, ...said, timeout: Math.max(1, claim.remaining) }
    if (claim.pictures.length === 0) return service.submit(request, caller)
    const uploads = store.open()
    try {
      for (const { field, read } of claim.pictures) await uploads.take(field, once(read))
      const files = picturesOf(uploads, request)
      const prepared = files && (await service.prepare(request, caller, files, leave.signal))
      return service.submit(request, caller, prepared)
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
      return this.#giveBack(making)
    }
    await this.#end(making, endOf(error), failureOf(error))
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
    const unfollow = this.#follow(making, run)
    try {
      const finished = await run.finished
      await this.#save(making, run, finished)
    } catch (error) {
      const failure = toEaselError(error)
      if (failure.code === 'DRAINING') await this.#giveBack(making)
      else await this.#end(making, endOf(failure), failureOf(failure))
    } finally {
      unfollow()
      detach()
      this.#making.delete(making)
      this.wake()
    }
  }

  /** Reports a run's progress to the store, not more often than each second. */
  #follow(making: Making, run: Run): () => void {
    const steps = new Map<number, { step: number; of: number }>()
    let [last, done, reportedAt] = [0, 0, -Infinity]
    let later: NodeJS.Timeout | undefined
    const report = () => {
      later = undefined
      reportedAt = performance.now()
      const all = [...steps.values()]
      const progress: Progress = {
        images_done: done,
        images: (JSON.parse(making.claim.body) as Submission).request.num_images ?? 1,
        step: all.reduce((sum, { step }) => sum + step, 0),
        of: all.reduce((sum, { of }) => sum + of, 0)
      }
      this.#options.store
        .progress(making.claim, JSON.stringify(progress))
        .catch((error: unknown) => this.#unlessAway(error))
    }
    const look = () => {
      for (let event = run.eventAfter(last); event !== undefined; event = run.eventAfter(last)) {
        last = event.number
        if (event.type === 'started') {
          making.started = true
          this.wake()
        }
        if (event.type === 'progress') steps.set(event.image, event)
        if (event.type === 'image') done += 1
      }
      if (steps.size > 0) later ??= setTimeout(report, Math.max(0, reportedAt + REPORT_MS - performance.now()))
    }
    const unwatch = run.watch(look)
    look()
    return () => {
      unwatch()
      clearTimeout(later)
    }
  }

  async #save(making: Making, run: Run, { images, timings, used }: Finished): Promise<void> {
    const { store, withRecipe } = this.#options
    const { claim } = making
    const stored = this.#filesOf(claim, images)
    if (stored !== undefined && !(await this.#keepIn(making, stored))) return this.#letGo(making)
    // From here on there may be files, which the job has, or nobody.
    const leave = async () => {
      if (stored !== undefined) await store.leave(claim, stored).catch((error: unknown) => this.#unlessAway(error))
    }
    if (!(await this.#write(making, images, stored))) {
      await this.#letGo(making)
      return leave()
    }
    const made: Made = {
      images: images.map(({ index, seed, format, width, height, bytes, recipe }) => ({
        index,
        seed,
        format,
        width,
        height,
        bytes: bytes.length,
        sha256: createHash('sha256').update(bytes).digest('hex'),
        ...(withRecipe ? { recipe } : {})
      })),
      ...(stored === undefined ? {} : { stored }),
      timings,
      prompts: run.prompts,
      ...(used === undefined ? {} : { used: chipSecondsJson(used) })
    }
    if (!(await this.#end(making, 'succeeded', { made }))) await leave()
  }

  #filesOf({ name, body }: Claim, images: readonly ImageFile[]): JobFiles | undefined {
    const { folder = randomUUID() } = JSON.parse(body) as Submission
    return this.#options.files?.plan(name, folder, images)
  }

  /** Writes into the job where its images will be. Returns whether it is done. */
  async #keepIn(making: Making, stored: JobFiles): Promise<boolean> {
    let held = false
    const done = await this.#untilDone(making, async () => {
      held = await this.#options.store.keepIn(making.claim, stored)
    })
    return done && held
  }

  /** Writes a job's images. Returns whether all are written. */
  async #write(making: Making, images: readonly ImageFile[], stored: JobFiles | undefined): Promise<boolean> {
    const { store, files } = this.#options
    for (const [which, image] of images.entries()) {
      const written = await this.#untilDone(making, () =>
        stored === undefined
          ? store.images.save(making.claim, image.index, image.bytes)
          : files!.save(stored, which, image)
      )
      if (!written) return false
    }
    return true
  }

  /** Lets go of a job whose images could not be written: it is lost, or this gateway closes. */
  async #letGo(making: Making): Promise<void> {
    if (this.#closing.signal.aborted && !making.leave.signal.aborted) await this.#giveBack(making)
    else this.#options.observer.jobLeft('lost')
  }

  /** Ends a job. Returns whether its end is this one. */
  async #end(making: Making, end: JobEnd, outcome: Outcome): Promise<boolean> {
    const { store, observer } = this.#options
    let ended = false
    const written = await this.#untilDone(making, async () => {
      ended = await store.end(making.claim, end, JSON.stringify(outcome))
    })
    if (written && ended) observer.jobEnded(end)
    else observer.jobLeft('lost')
    return written && ended
  }

  async #giveBack(making: Making): Promise<void> {
    const { store, observer } = this.#options
    await store.giveBack(making.claim).catch((error: unknown) => this.#unlessAway(error))
    observer.jobLeft('returned')
  }

  /**
   * Repeats what the store could not do, until it has, the claim is lost, or this gateway closes.
   *
   * @returns whether it was done
   */
  async #untilDone(making: Making, act: () => Promise<void>): Promise<boolean> {
    const stop = AbortSignal.any([making.leave.signal, this.#closing.signal])
    try {
      for (;;) {
        try {
          await act()
          return true
        } catch (error) {
          if (!(error instanceof EaselError)) {
            this.#options.log.error({ err: error }, 'a job could not be written to its store')
            return false
          }
          if (stop.aborted) return false
          making.stuck = true
          await sleep(AGAIN_MS, undefined, { signal: stop }).catch(() => undefined)
        }
      }
    } finally {
      making.stuck = false
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
