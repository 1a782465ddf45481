import { type Job, JobError, type JobFailure, type JobListener, type JobProgress, type RawImage } from './job.js'
import type { Share, Waiting } from './fair-queue.js'
import type { Weights } from './models.js'
import type { SavedState, StateOrigin } from './saved-states.js'

export interface TaskFields {
  id: string
  job: Job
  share: Share
  /** Chip-seconds that it will probably take. */
  cost: number
  rows: number
  /** ms */
  submittedAt: number
  /** ms */
  deadline: number
  listener?: JobListener | undefined
}

/** A job in the dispatcher. It ends exactly once. */
export class Task implements Waiting {
  readonly id: string
  readonly job: Job
  readonly share: Share
  readonly cost: number
  readonly rows: number
  /** When it was submitted, in ms of the dispatcher's clock. */
  readonly submittedAt: number
  /** When it expires, in ms of the dispatcher's clock. */
  readonly deadline: number
  /** The weights of its first worker, which all later ones must have. */
  weights: Weights | undefined
  /** Chip-seconds that its key has paid; undefined until a worker says. */
  used: number | undefined
  /** How often it was sent to a worker. */
  attempts = 0
  /** Consecutive worker deaths while it ran. After one it is a suspect and runs alone. */
  crashes = 0
  /** Its unfinished images as their last worker gave them back, by index; only `SavedStates` changes it. */
  readonly states = new Map<number, SavedState>()
  /** Whose `states` are. */
  stateOrigin: StateOrigin | undefined
  /** True from the worker's first PROGRESS until `stopped`. */
  running = false
  readonly #listener: JobListener
  readonly #images: (RawImage | undefined)[]
  /** Steps done, by image. */
  #steps: number[]
  /** The most steps that the listener knows to be done, by image. */
  readonly #shown: number[]
  readonly #resolve: (images: RawImage[]) => void
  readonly #reject: (error: JobError) => void
  readonly #cleanups: (() => void)[] = []
  #started = false
  #ahead: number | undefined
  #ended = false
  #failure: JobFailure | undefined
  readonly finished: Promise<RawImage[]>

  constructor({ id, job, share, cost, rows, submittedAt, deadline, listener }: TaskFields) {
    this.id = id
    this.job = job
    this.share = share
    this.cost = cost
    this.rows = rows
    this.submittedAt = submittedAt
    this.deadline = deadline
    this.#listener = listener ?? {}
    this.#images = job.seeds.map(() => undefined)
    this.#steps = job.seeds.map(() => 0)
    this.#shown = job.seeds.map(() => 0)
    const { promise, resolve, reject } = withResolvers<RawImage[]>()
    this.finished = promise
    this.#resolve = resolve
    this.#reject = reject
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Whether any worker has ever started it. */
  get started(): boolean {
    return this.#started
  }

  /** Steps left for its slowest image. */
  get stepsLeft(): number {
    return this.job.steps - Math.min(...this.#steps)
  }

  /** Why it has failed, if it has. */
  get failure(): JobFailure | undefined {
    return this.#failure
  }

  /** Indexes of the images that have not arrived. */
  get missing(): readonly number[] {
    return [...this.job.seeds.keys()].filter((image) => this.#images[image] === undefined)
  }

  /** No worker has it, or its images start anew. */
  stopped(): void {
    this.running = false
    this.#steps = this.job.seeds.map((_, image) =>
      this.#images[image] === undefined ? (this.states.get(image)?.form.step ?? 0) : this.job.steps
    )
  }

  /** Whether a listener wants its queue position. */
  get wantsPosition(): boolean {
    return this.#listener.waiting !== undefined && !this.#started
  }

  /** Reserves the gateway memory the task needs before it goes to a worker. False if there is not enough now. */
  reserve(): boolean {
    return this.#listener.reserve?.() ?? true
  }

  /** Takes its unfinished images when its gateway leaves; undefined if nobody wants them. */
  get unfinished(): JobListener['unfinished'] {
    return this.#listener.unfinished
  }

  /** Registers `cleanup` to run when the task ends, successfully or not. */
  onEnd(cleanup: () => void): void {
    this.#cleanups.push(cleanup)
  }

  /** Reports its queue position if that has changed. */
  reportPosition(ahead: number, seconds: number | undefined): void {
    if (this.#ahead === ahead || this.#started || this.#ended) return
    this.#ahead = ahead
    this.#listener.waiting?.(ahead, seconds)
  }

  /** Records progress. Ignores out-of-range indexes: never size or index by values from the wire. */
  progress(progress: JobProgress): void {
    if (progress.image >= this.#steps.length || progress.step > this.job.steps) return
    const { image, step } = progress
    this.running = true
    this.#steps[image] = step
    // An image that goes on elsewhere may do a step again; clients see it once.
    const again = this.states.has(image) && step < this.#shown[image]!
    if (!again) this.#shown[image] = step
    if (this.#ended) return
    if (!this.#started) {
      this.#started = true
      this.#listener.started?.()
    }
    if (!again) this.#listener.progress?.(progress)
  }

  /** Stores one image; the last one ends the task. Ignores an image that an earlier attempt has already delivered. */
  image(index: number, image: RawImage): void {
    if (this.#ended || this.#images[index] !== undefined) return
    this.#images[index] = image
    this.#steps[index] = this.job.steps
    this.#listener.image?.(index, image)
    const images = this.#images.filter((each) => each !== undefined)
    if (images.length === this.#images.length) this.#end(() => this.#resolve(images))
  }

  fail(failure: JobFailure, message: string): void {
    if (!this.#ended) this.#failure = failure
    this.#end(() => this.#reject(new JobError(failure, message)))
  }

  #end(settle: () => void): void {
    if (this.#ended) return
    this.#ended = true
    for (const cleanup of this.#cleanups) cleanup()
    settle()
  }
}

/** Promise.withResolvers, which Node 20 lacks. */
function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: Error) => void } {
  let resolve!: (value: T) => void
  let reject!: (error: Error) => void
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve
    reject = onReject
  })
  return { promise, resolve, reject }
}
