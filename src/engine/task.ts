import {
  type Job,
  JobError,
  type JobFailure,
  type JobListener,
  type JobProgress,
  type RawImage,
  rowsOf
} from './job.js'

export interface TaskFields {
  id: string
  job: Job
  /** ms */
  submittedAt: number
  /** ms */
  deadline: number
  listener?: JobListener | undefined
}

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
  readonly #listener: JobListener
  readonly #images: (RawImage | undefined)[]
  /** Steps done of each image. */
  readonly #steps: number[]
  readonly #resolve: (images: RawImage[]) => void
  readonly #reject: (error: JobError) => void
  readonly #cleanups: (() => void)[] = []
  #started = false
  #model: RawImage['model'] | undefined
  #ahead: number | undefined
  #ended = false
  readonly finished: Promise<RawImage[]>

  constructor({ id, job, submittedAt, deadline, listener }: TaskFields) {
    this.id = id
    this.job = job
    this.rows = rowsOf(job)
    this.submittedAt = submittedAt
    this.deadline = deadline
    this.#listener = listener ?? {}
    this.#images = job.seeds.map(() => undefined)
    this.#steps = job.seeds.map(() => 0)
    const { promise, resolve, reject } = withResolvers<RawImage[]>()
    this.finished = promise
    this.#resolve = resolve
    this.#reject = reject
  }

  /** The model that made the images that are there. */
  get model(): RawImage['model'] | undefined {
    return this.#model
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Whether a worker has begun with it at least once. */
  get started(): boolean {
    return this.#started
  }

  /** Steps that its slowest image still needs. */
  get stepsLeft(): number {
    return this.running ? this.job.steps - Math.min(...this.#steps) : this.job.steps
  }

  /** Whether anyone asks for its place in the queue. */
  get wantsPlace(): boolean {
    return this.#listener.waiting !== undefined && !this.#started
  }

  /** Takes what the task needs here before a worker may begin with it; false where that is not to be had now. */
  reserve(): boolean {
    return this.#listener.reserve?.() ?? true
  }

  /** Runs when the task ends, in whatever way. */
  onEnd(cleanup: () => void): void {
    this.#cleanups.push(cleanup)
  }

  /** Says its place, if that has changed. */
  place(ahead: number, seconds: number | undefined): void {
    if (this.#ahead === ahead || this.#started || this.#ended) return
    this.#ahead = ahead
    this.#listener.waiting?.(ahead, seconds)
  }

  /** Takes news of an image. What no worker in its right mind says is left out: numbers from the wire size nothing here. */
  progress(progress: JobProgress): void {
    if (progress.image >= this.#steps.length || progress.step > this.job.steps) return
    if (!this.running) this.#steps.fill(0)
    this.running = true
    this.#steps[progress.image] = progress.step
    if (this.#ended) return
    if (!this.#started) {
      this.#started = true
      this.#listener.started?.()
    }
    this.#listener.progress?.(progress)
  }

  /** Takes one image; the last one ends the task. An image that came before (from an earlier attempt) is not taken twice. */
  image(index: number, image: RawImage): void {
    if (this.#ended || this.#images[index] !== undefined) return
    this.#images[index] = image
    this.#model = image.model
    this.#steps[index] = this.job.steps
    this.#listener.image?.(index, image)
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
