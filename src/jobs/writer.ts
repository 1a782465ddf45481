import { createHash, randomUUID } from 'node:crypto'
import { EaselError, type ErrorCode } from '../errors.js'
import type { Log } from '../logger.js'
import { chipSecondsJson } from '../service/chip-seconds.js'
import type { Finished, ImageFile, Run } from '../service/run.js'
import type { LeftImage } from '../service/continuation.js'
import type { JobFileStore } from './files.js'
import { keepHalfDone } from './half-done.js'
import type { Made, Outcome, Progress, Submission } from './submission.js'
import type { Claim, JobEnd, JobFiles, JobStore } from './store.js'
import { untilDone } from '../until-done.js'

export interface WriterOptions {
  store: JobStore
  /** Where images are, if not in the store. */
  files: JobFileStore | undefined
  withRecipe: boolean
  log: Log
  observer: WriterObserver
}

export interface WriterObserver {
  /** A job ended at this gateway. */
  jobEnded: (end: JobEnd) => void
  /** A claim ended without an end of its job: returned to the store, or lost to it. */
  jobLeft: (how: 'returned' | 'lost') => void
}

/** What the store says when it cannot take anything now. */
const AWAY: ReadonlySet<ErrorCode> = new Set(['JOB_STORE_UNAVAILABLE', 'JOBS_FULL'])

/** ms after which something that a store refused is tried again. */
const AGAIN_MS = 1000

/** A job that this gateway makes. */
export interface Making {
  readonly claim: Claim
  readonly leave: AbortController
  started: boolean
  /** Whether it is made, and a store does not take it. */
  stuck: boolean
  /** Its half-done images, when this gateway leaves. */
  left: readonly LeftImage[]
}

/** Writes what became of claimed jobs: their progress, images and ends. */
export class JobWriter {
  readonly #options: WriterOptions
  readonly #closing: AbortSignal

  /** @param closing fires when this gateway claims no more */
  constructor(options: WriterOptions, closing: AbortSignal) {
    this.#options = options
    this.#closing = closing
  }

  /** Logs what the store does not report itself. */
  unlessAway(error: unknown): void {
    if (error instanceof EaselError && AWAY.has(error.code)) return
    this.#options.log.error({ err: error }, 'a job could not be looked after')
  }

  /** Says how far a job is. */
  report({ claim }: Making, progress: Progress): void {
    this.#options.store.progress(claim, JSON.stringify(progress)).catch((error: unknown) => this.unlessAway(error))
  }

  /** Writes a job's images, and that it succeeded. */
  async save(making: Making, run: Run, { images, timings, used }: Finished): Promise<void> {
    const { store, withRecipe } = this.#options
    const { claim } = making
    const stored = this.#filesOf(claim, images)
    if (stored !== undefined && !(await this.#keepIn(making, stored))) return this.#letGo(making)
    // From here on there may be files, which the job has, or nobody.
    const leave = async () => {
      if (stored !== undefined) await store.leave(claim, stored).catch((error: unknown) => this.unlessAway(error))
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
    if (!(await this.end(making, 'succeeded', { made }))) await leave()
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
    if (this.#closing.aborted && !making.leave.signal.aborted) await this.giveBack(making, true)
    else this.#options.observer.jobLeft('lost')
  }

  /** Ends a job. Returns whether its end is this one. */
  async end(making: Making, end: JobEnd, outcome: Outcome): Promise<boolean> {
    const { store, observer } = this.#options
    let ended = false
    const written = await this.#untilDone(making, async () => {
      ended = await store.end(making.claim, end, JSON.stringify(outcome))
    })
    if (written && ended) observer.jobEnded(end)
    else observer.jobLeft('lost')
    return written && ended
  }

  /**
   * Returns a job to the store, to be made later or elsewhere.
   *
   * @param begun whether it was: what it came with does not count any more then
   */
  async giveBack(making: Making, begun: boolean): Promise<void> {
    const { store, observer, log } = this.#options
    const { claim, left } = making
    const halves = begun ? await keepHalfDone(store.halves, claim, left, log) : true
    await this.#untilDone(making, () => store.giveBack(claim, halves))
    observer.jobLeft('returned')
  }

  /**
   * Repeats what the store could not do, until it has, the claim is lost, or this gateway closes.
   *
   * @returns whether it was done
   */
  async #untilDone(making: Making, act: () => Promise<void>): Promise<boolean> {
    const stop = AbortSignal.any([making.leave.signal, this.#closing])
    const failed = (error: unknown) => {
      if (!(error instanceof EaselError) || stop.aborted) throw error
      making.stuck = true
    }
    try {
      await untilDone(act, { pause: AGAIN_MS, stop, failed })
      return true
    } catch (error) {
      if (!(error instanceof EaselError))
        this.#options.log.error({ err: error }, 'a job could not be written to its store')
      return false
    } finally {
      making.stuck = false
    }
  }
}
