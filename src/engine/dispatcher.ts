import { canMake } from './abilities.js'
import type { Forecast } from './estimate.js'
import type { Log } from '../logger.js'
import type { EngineObserver } from './events.js'
import { type Job, JobError, type JobListener, type RawImage, rowsOf } from './job.js'
import { sameModel } from './models.js'
import type { Failed, GatewayMessage, Hello, Result } from './protocol.js'
import type { ConnectedWorker, WorkMessage } from './registry.js'
import { Task } from './task.js'

/** A task that was running at so many worker deaths in a row is taken for their cause. */
const MAX_CRASHES = 2

/** A worker is given work for this many times its rows, so that it never waits for the wire between two steps. */
const PREFETCH = 2

const GOING_AWAY = 'the server is shutting down'

/** Images of one request are all of one model. */
const MODEL_CHANGED = 'the model changed while the request ran; send it again'

export interface DispatcherOptions {
  workers: () => Iterable<ConnectedWorker>
  send: (worker: string, message: GatewayMessage) => void
  forecast: Forecast
  observer: EngineObserver
  log: Log
  /** Monotonic clock in ms. */
  now: () => number
}

export interface SubmitOptions {
  id: string
  /** ms from now, for the worker to know; the signal is what ends the job here. */
  timeout: number
  /** Ends the job: with the JobError that is its reason, else as cancelled. */
  signal?: AbortSignal | undefined
  listener?: JobListener | undefined
}

/** One try of a task at one worker. It holds the worker's rows until the worker says that they are free. */
interface Assignment {
  readonly task: Task
  readonly worker: string
  /** Images that the worker still owes. */
  readonly owed: Set<number>
}

/**
 * Decides which worker runs what, and sees every accepted job to exactly one end.
 *
 * First come, first served within a size; to the least loaded worker that has it. When a worker dies, what it had is put
 * back at the front. What was running then may have been the cause: it is tried once more, alone on a worker,
 * so that a poisoned job can take no other down with it.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions
  readonly #queue: Task[] = []
  readonly #assignments = new Map<string, Assignment>()
  /** Workers that take no more work, by name, until they are gone. */
  readonly #leaving = new Set<string>()
  #draining = false
  #abandoned = false

  constructor(options: DispatcherOptions) {
    this.#options = options
  }

  /** Whether there is a worker that takes work. */
  get available(): boolean {
    return !this.#staying().next().done
  }

  /** Jobs that wait for a worker. */
  get queued(): number {
    return this.#queue.length
  }

  /** Jobs at a worker. */
  get running(): readonly Task[] {
    return [...this.#assignments.values()].map(({ task }) => task).filter((task) => !task.ended)
  }

  /**
   * Seconds from now until each of the jobs that run and wait is done, in this order, and at last until `next` would
   * be done if it came now. Undefined as long as nothing was measured.
   */
  secondsUntilDone(next?: Job): number[] | undefined {
    const loads = [...this.#inOrder(), ...(next === undefined ? [] : [{ rows: rowsOf(next), stepsLeft: next.steps }])]
    let rows = 0
    for (const worker of this.#options.workers()) rows += worker.hello.rows
    return this.#options.forecast.secondsUntilDone(loads, rows)
  }

  /**
   * Takes a job and brings its images.
   *
   * @throws JobError when it ends in any other way; the rows it held are free by the worker's next step
   */
  submit(job: Job, { id, timeout, signal, listener }: SubmitOptions): Promise<RawImage[]> {
    const submittedAt = this.#options.now()
    const task = new Task({ id, job, submittedAt, deadline: submittedAt + timeout, listener })
    const onAbort = () => this.#stop(task, signal?.reason)
    task.onEnd(() => signal?.removeEventListener('abort', onAbort))
    if (this.#abandoned) task.fail('draining', GOING_AWAY)
    else if (signal?.aborted) onAbort()
    else {
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#queue.push(task)
      this.pump()
    }
    return task.finished
  }

  /**
   * Gives waiting tasks to workers while there is room: first come, first served within a size. A size that is full holds
   * up no other, as each has rows of its own; nor does what no worker can make now, as one that was started again has yet
   * to compile it.
   */
  pump(): void {
    const full = new Set<string>()
    let place = 0
    while (place < this.#queue.length) {
      const task = this.#queue[place]!
      const size = `${task.job.width}x${task.job.height}`
      const worker = full.has(size) ? undefined : this.#choose(task)
      if (worker !== undefined) {
        // A worker is only given what there is memory for here. Whoever overtook a large task would keep it waiting.
        if (!task.reserve()) break
        this.#queue.splice(place, 1)
        this.#assign(task, worker)
        continue
      }
      if (this.#someoneCanMake(task)) {
        // A suspect waits until a worker is empty: whoever overtook it would keep it waiting.
        if (task.crashes > 0) break
        full.add(size)
      }
      place += 1
    }
    // Nobody is to come any more: whoever waits can go elsewhere at once.
    if (this.#draining && !this.available) for (const task of this.#queue.splice(0)) task.fail('draining', GOING_AWAY)
    this.#tellPlaces()
  }

  /** Waits for no worker that is not there. */
  drain(): void {
    this.#draining = true
    this.pump()
  }

  /**
   * Gives all that waits to the workers and tells them to leave: they know their pace, and choose what can be finished.
   *
   * @param graceMs how long they may take
   */
  sendAway(graceMs: number): void {
    for (const task of this.#queue.splice(0)) {
      const worker = this.#choose(task, true)
      if (worker !== undefined && task.reserve()) this.#assign(task, worker)
      else this.#queue.push(task)
    }
    for (const { name } of this.#staying()) {
      this.#leaving.add(name)
      this.#options.send(name, { kind: 'DRAIN', header: { grace_ms: Math.round(graceMs) } })
    }
  }

  /** Takes a worker's message about a task. */
  receive(worker: ConnectedWorker, message: WorkMessage): void {
    const { id } = message.header
    const assignment = this.#assignments.get(id)
    // Late words about a task that was given to another worker since.
    if (assignment === undefined || assignment.worker !== worker.name) return
    const { task } = assignment
    if (message.kind === 'PROGRESS') {
      const { image, stage, step, of, preview } = message.header
      const picture = preview && message.pixels ? { preview: { ...preview, pixels: message.pixels } } : {}
      const first = !task.started
      task.progress({ image, stage, step, of, ...picture })
      if (first) this.#started(task)
    } else if (message.kind === 'RESULT')
      this.#result(id, assignment, message.header, message.pixels, worker.hello.model)
    else this.#failed(id, assignment, message.header)
  }

  /** Puts back what a lost worker had. */
  workerLost(name: string, blameless: boolean): void {
    this.#leaving.delete(name)
    const lost = [...this.#assignments].filter(([, assignment]) => assignment.worker === name)
    const again: Task[] = []
    for (const [id, { task }] of lost) {
      this.#assignments.delete(id)
      if (task.ended) continue
      task.crashes = task.running && !blameless ? task.crashes + 1 : 0
      task.running = false
      if (task.crashes >= MAX_CRASHES)
        task.fail('worker_crashed', 'the worker died twice in a row while it ran this request')
      else again.push(task)
    }
    this.#queue.unshift(...again)
    if (again.length > 0)
      this.#options.log.warn(
        { worker: name, requests: again.map((task) => task.id) },
        `${again.length} requests of worker ${name} are tried again`
      )
    this.pump()
  }

  /** Fails whatever is left, and whatever comes. */
  abandon(): void {
    this.#abandoned = true
    const left = [...this.#queue.splice(0), ...this.running]
    this.#assignments.clear()
    for (const task of left) task.fail('draining', GOING_AWAY)
  }

  *#staying(): Generator<ConnectedWorker, void, undefined> {
    for (const worker of this.#options.workers()) if (!this.#leaving.has(worker.name)) yield worker
  }

  /** @param everything whether a worker is given more than keeps it busy */
  #choose(task: Task, everything = false): ConnectedWorker | undefined {
    let best: ConnectedWorker | undefined
    let bestLoad = Infinity
    for (const worker of this.#staying()) {
      if (!canMake(worker.hello, task.job)) continue
      const { rows, rowsOfSize, suspect } = this.#load(worker.name, task.job)
      const alone = suspect || task.crashes > 0
      // Each size has rows of its own at the worker. What is too large for them all is sent when none is taken.
      const room = everything || rowsOfSize === 0 || rowsOfSize + task.rows <= PREFETCH * worker.hello.rows
      const fits = rows === 0 || (!alone && room)
      const load = rows / worker.hello.rows
      if (fits && load < bestLoad) {
        best = worker
        bestLoad = load
      }
    }
    return best
  }

  #someoneCanMake(task: Task): boolean {
    return [...this.#staying()].some(({ hello }) => canMake(hello, task.job))
  }

  /** What a worker has: rows in all and of a job's size, and whether one of them may be its death. */
  #load(name: string, { width, height }: Job): { rows: number; rowsOfSize: number; suspect: boolean } {
    let rows = 0
    let rowsOfSize = 0
    let suspect = false
    for (const { task, worker } of this.#assignments.values()) {
      if (worker !== name) continue
      rows += task.rows
      if (task.job.width === width && task.job.height === height) rowsOfSize += task.rows
      suspect ||= task.crashes > 0
    }
    return { rows, rowsOfSize, suspect }
  }

  #assign(task: Task, worker: ConnectedWorker): void {
    const { observer, now, send } = this.#options
    if (task.model !== undefined && !sameModel(task.model, worker.hello.model)) {
      task.fail('internal', MODEL_CHANGED)
      return
    }
    task.attempts += 1
    if (task.attempts > 1) observer.replay()
    // The wire wants an id that was never used, and a replay must not be mistaken for its first try.
    const id = `${task.id}.${task.attempts}`
    this.#assignments.set(id, { task, worker: worker.name, owed: new Set(task.job.seeds.keys()) })
    const timeout_ms = Math.max(1, Math.round(task.deadline - now()))
    send(worker.name, { kind: 'GENERATE', header: { ...task.job, id, timeout_ms } })
  }

  #result(id: string, assignment: Assignment, result: Result, pixels: Uint8Array, model: Hello['model']): void {
    const { task } = assignment
    const { image, seed, width, height, timings } = result
    if (seed !== task.job.seeds[image] || width !== task.job.width || height !== task.job.height) {
      task.fail('internal', 'the worker answered with another image than was asked for')
      this.#options.send(assignment.worker, { kind: 'CANCEL', header: { id } })
      this.#release(id)
      return
    }
    // The same image twice is one image.
    if (!assignment.owed.delete(image)) return
    task.image(image, { seed, width, height, pixels, timings, model })
    this.#options.forecast.aroundTook((timings.encode_ms + timings.decode_ms) / 1000)
    if (assignment.owed.size === 0) this.#release(id)
  }

  #failed(id: string, { task, worker }: Assignment, { code, message }: Failed): void {
    this.#options.log.debug({ request: task.id, code }, `the worker ended request ${task.id}: ${message}`)
    if (code === 'draining') this.#leaving.add(worker)
    if (code === 'draining' && !task.ended) {
      // The worker leaves: another one, or its successor, does it.
      task.running = false
      this.#queue.unshift(task)
    } else task.fail(code, message)
    this.#release(id)
  }

  #release(id: string): void {
    this.#assignments.delete(id)
    this.pump()
  }

  #started(task: Task): void {
    this.#options.observer.queueWait((this.#options.now() - task.submittedAt) / 1000)
    this.#tellPlaces()
  }

  /** Ends a task for its client at once; the rows it holds are freed by the worker at its next step. */
  #stop(task: Task, reason: unknown): void {
    const place = this.#queue.indexOf(task)
    if (place !== -1) this.#queue.splice(place, 1)
    if (reason instanceof JobError) task.fail(reason.failure, reason.message)
    else task.fail('cancelled', 'the request was cancelled')
    for (const [id, assignment] of this.#assignments) {
      if (assignment.task === task) this.#options.send(assignment.worker, { kind: 'CANCEL', header: { id } })
    }
    this.#tellPlaces()
  }

  /** Tasks in the order in which they are done: at workers, then in the queue. */
  #inOrder(): readonly Task[] {
    return [...this.running, ...this.#queue]
  }

  /** Tells those who asked how many wait before them. What a worker has and has not begun with waits too. */
  #tellPlaces(): void {
    const tasks = this.#inOrder()
    if (!tasks.some((task) => task.wantsPlace)) return
    const seconds = this.secondsUntilDone()
    let ahead = 0
    for (const [index, task] of tasks.entries()) {
      if (task.started) continue
      task.place(ahead, seconds?.[index])
      ahead += 1
    }
  }
}
