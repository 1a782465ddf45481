import { type Job, JobError, type JobFailure, type JobProgress, type RawImage, rowsOf } from './job.js'

/** A job on its way through the dispatcher. It ends exactly once, whatever happens to it. */
export class Task {
  readonly id: string
  readonly job: Job
  readonly rows: number
  /** Clock when it was submitted, in ms. */
  readonly submittedAt: number
  /** Clock when its time is over, in ms. */
  readonly deadline: number
  /** How often it was given to a worker. */
  attempts = 0
  /** Worker deaths in a row while it was running. After one it is a suspect and runs alone. */
  crashes = 0
  /** True from the first sign that the worker works on it, until the worker is lost. */
  running = false
  readonly #images: (RawImage | undefined)[]
  readonly #onProgress: ((progress: JobProgress) => void) | undefined
  readonly #resolve: (images: RawImage[]) => void
  readonly #reject: (error: JobError) => void
  readonly #cleanups: (() => void)[] = []
  #ended = false
  readonly finished: Promise<RawImage[]>

  constructor(fields: { id: string; job: Job; submittedAt: number; deadline: number; onProgress?: ((progress: JobProgress) => void) | undefined }) {
    this.id = fields.id
    this.job = fields.job
    this.rows = rowsOf(fields.job)
    this.submittedAt = fields.submittedAt
    this.deadline = fields.deadline
    this.#onProgress = fields.onProgress
    this.#images = fields.job.seeds.map(() => undefined)
    const { promise, resolve, reject } = withResolvers<RawImage[]>()
    this.finished = promise
    this.#resolve = resolve
    this.#reject = reject
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Runs when the task ends, in whatever way. */
  onEnd(cleanup: () => void): void {
    this.#cleanups.push(cleanup)
  }

  progress(progress: JobProgress): void {
    this.running = true
    if (!this.#ended) this.#onProgress?.(progress)
  }

  /** Takes one image; the last one ends the task. An image that came before (from an earlier attempt) is not taken twice. */
  image(index: number, image: RawImage): void {
    this.#images[index] ??= image
    const images = this.#images.filter((each) => each !== undefined)
    if (images.length === this.#images.length) this.#end(() => this.#resolve(images))
  }

  fail(failure: JobFailure, message: string): void {
    this.#end(() => this.#reject(new JobError(failure, message)))
  }

  #end(settle: () => void): void {
    if (this.#ended) return
    this.#ended = true
    for (const cleanup of this.#cleanups) cleanup()
    settle()
  }
}

/** Promise.withResolvers, which Node 20 does not have yet. */
function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: Error) => void } {
  let resolve!: (value: T) => void
  let reject!: (error: Error) => void
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}
