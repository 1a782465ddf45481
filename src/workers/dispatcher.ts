import { AdapterSets } from './adapter-sets.js'
import { canRun, GUIDANCE_EMBEDDING } from './capabilities.js'
import { type ChipLedger, type ChipSeconds, chipSecondsOf, type Count, less, sumOf, total } from './chip-ledger.js'
import type { Forecast } from './estimate.js'
import { FairQueue, type Share } from './fair-queue.js'
import type { Log } from '../logger.js'
import type { PoolObserver } from './events.js'
import { type Job, JobError, type JobFailure, type JobListener, type RawImage, rowsOf } from './job.js'
import { sameWeights, type Weights } from './models.js'
import type { Failed, GatewayMessage, Hello, Result } from './protocol.js'
import type { ConnectedWorker, WorkMessage } from './registry.js'
import { type Handover, MAX_STATE_BYTES, type Memory, SavedStates, type Unfinished } from './saved-states.js'
import { Task } from './task.js'
import { tenantName, Tenants } from './tenants.js'

/** A task fails once this many workers in a row have died while running it: it probably killed them. */
const MAX_CRASHES = 2

/** Send a worker up to this many times its rows of work, so that it never waits for the network between two steps. */
const PREFETCH = 2

/** How long a batch job waits for interactive ones before it gets its part of the chips, in ms. */
const BATCH_AGEING_MS = 60_000

/** The share of jobs for which none is stated. */
const NOBODY: Share = { key: '', weight: 1, priority: 'interactive' }

/** Failures after which a key pays for the work so far: its client did not want it any more. */
const OWN_FAILURES: ReadonlySet<Failed['code'] | JobFailure> = new Set(['cancelled', 'expired'])

const GOING_AWAY = 'the server is shutting down'

/** All attempts at a request must use the same weights. */
const MODEL_CHANGED = 'the model changed while the request ran; send it again'

export interface DispatcherOptions {
  /** The workers of the model. */
  workers: () => Iterable<ConnectedWorker>
  /** Chip-seconds that a job will probably take. Positive. */
  cost: (job: Job) => number
  /** An image of a job has used this. */
  learn: (job: Job, used: ChipSeconds) => void
  ledger: ChipLedger
  /** Accounts for the bytes of unfinished images between two workers; undefined if there is no room. */
  holdStates: (bytes: number) => Memory | undefined
  /** How many steps of a worker these steps of a request take. */
  workerSteps: (scheduler: string, steps: number) => number
  /** Whether a worker has the weights that new tasks go to. */
  isCurrent: (worker: ConnectedWorker) => boolean
  send: (worker: string, message: GatewayMessage) => void
  forecast: Forecast
  /** Rows of the workers that run new jobs, or that will. */
  rows: () => number
  /** Seconds until those workers can run jobs; 0 if they are connected. */
  delay: () => number
  observer: PoolObserver
  log: Log
  /** Monotonic clock in ms. */
  now: () => number
}

export interface SubmitOptions {
  id: string
  /** ms from now, passed on to the worker. The dispatcher itself stops the job only on `signal`. */
  timeout: number
  /** Aborting ends the job with the abort reason if that is a JobError, otherwise as cancelled. */
  signal?: AbortSignal | undefined
  listener?: JobListener | undefined
  /** Only workers with these weights may run it; by default those with the current ones. */
  weights?: Weights | undefined
  /** Whose it is. By default that of a server without access keys. */
  share?: Share | undefined
  /** Images of it that another gateway's workers began. Their memory is the dispatcher's from now on. */
  unfinished?: readonly Unfinished[] | undefined
}

/** One attempt at a task on one worker. It occupies rows there until the worker reports its end. */
interface Assignment {
  readonly task: Task
  readonly worker: string
  /** How many images it is for. */
  readonly images: number
  /** The task's images that the worker has not delivered yet, by their index in its message. */
  readonly undelivered: Map<number, number>
}

/**
 * Assigns tasks to workers and ends every accepted job exactly once.
 *
 * Tasks of one size run in the fair order of `FairQueue`, which is that of arrival for tasks of one key and class. Each
 * runs on the least loaded worker that has the size. A worker whose weights already have a task's LoRAs counts as less
 * loaded. When a worker dies, its tasks return to the front of the queue. One that was running may have caused the death, so it is retried
 * once, alone on a worker, where a poisoned job cannot crash others.
 *
 * A worker that leaves gives back tasks, with the states of images that are half done. Another worker of the same kind
 * goes on with them; while one is there, the task goes to no other. After a crash the task starts anew, since its states
 * may have caused it.
 *
 * A task's first worker decides its weights. It never goes to a worker with other weights, and fails when only such
 * workers are left.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions
  readonly #queue = new FairQueue<Task>(BATCH_AGEING_MS)
  readonly #assignments = new Map<string, Assignment>()
  readonly #adapters = new AdapterSets()
  readonly #tenants = new Tenants()
  readonly #states: SavedStates
  /** Names of workers that take no more work but are still connected. */
  readonly #drainingWorkers = new Set<string>()
  #paused = false
  #draining = false
  #abandoned = false

  constructor(options: DispatcherOptions) {
    this.#options = options
    this.#states = new SavedStates({ ...options, hold: options.holdStates })
  }

  /** Whether any worker takes new work. */
  get available(): boolean {
    return [...this.#accepting()].some((worker) => this.#options.isCurrent(worker))
  }

  /** Whether a worker has a task, even one that has ended for its client. */
  get busy(): boolean {
    return this.#assignments.size > 0
  }

  /** When the oldest waiting job was submitted, in ms; undefined if none waits. */
  get oldestQueuedAt(): number | undefined {
    return this.#queue.all.reduce<number | undefined>(
      (oldest, { submittedAt }) => Math.min(oldest ?? Infinity, submittedAt),
      undefined
    )
  }

  /** Number of jobs waiting to be sent to a worker. */
  get queued(): number {
    return this.#queue.length
  }

  /** Tasks sent to a worker and not ended, started or not. */
  get running(): readonly Task[] {
    return [...this.#assignments.values()].map(({ task }) => task).filter((task) => !task.ended)
  }

  /** Names of the LoRAs of its jobs: of those that a worker has, and of those that wait. */
  get adapters(): { readonly running: readonly string[]; readonly waiting: readonly string[] } {
    const named = (tasks: readonly Task[]) => tasks.flatMap(({ job }) => job.loras?.map(({ name }) => name) ?? [])
    return { running: named(this.running), waiting: named(this.#queue.all) }
  }

  /** Chip-seconds that its jobs will still take: estimates, less the steps that are done. */
  get backlogChipSeconds(): number {
    const left = [...this.#queue.all, ...this.running].map(({ cost, stepsLeft, job }) => (cost * stepsLeft) / job.steps)
    return left.reduce((sum, seconds) => sum + seconds, 0)
  }

  /**
   * Seconds from now until each job will be done: first the running ones, then the queue in its order. Undefined without
   * a recent measurement.
   */
  secondsUntilDone(): number[] | undefined {
    return this.#secondsUntilDone(this.#inOrder())
  }

  /** Seconds until a job submitted now would be done. Undefined without a recent measurement. */
  secondsFor(job: Job, share: Share = NOBODY): number | undefined {
    const next = this.#task(job, { id: '', timeout: Infinity, share })
    const tasks = this.#inOrder(next)
    return this.#secondsUntilDone(tasks)?.[tasks.indexOf(next)]
  }

  #secondsUntilDone(tasks: readonly Task[]): number[] | undefined {
    const { forecast, rows, delay, workerSteps } = this.#options
    const loads = tasks.map((task) => ({
      rows: task.rows,
      stepsLeft: workerSteps(task.job.scheduler, task.stepsLeft)
    }))
    return forecast.secondsUntilDone(loads, rows())?.map((seconds) => seconds + delay())
  }

  /**
   * Runs a job and resolves with its images.
   *
   * @throws JobError when the job ends any other way; the worker frees its rows by the next step
   */
  submit(job: Job, options: SubmitOptions): Promise<RawImage[]> {
    const task = this.#task(job, options)
    const { signal, unfinished = [] } = options
    this.#states.begin(task, unfinished)
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

  #task(job: Job, { id, timeout, listener, weights, share = NOBODY }: SubmitOptions): Task {
    const { now, cost } = this.#options
    const submittedAt = now()
    const deadline = submittedAt + timeout
    const task = new Task({
      id,
      job,
      share,
      cost: cost(job),
      rows: rowsOf(job, this.embedded),
      submittedAt,
      deadline,
      listener
    })
    task.weights = weights
    task.onEnd(() => {
      const { failure } = task
      if (failure === 'draining' && task.states.size > 0) task.unfinished?.(this.#states.leave(task))
      this.#states.drop(task, 'ended', failure !== undefined && OWN_FAILURES.has(failure))
    })
    return task
  }

  /**
   * Assigns waiting tasks while workers have room, in fair order within a size. A full size does not block
   * the others, because each has its own rows; nor does a task that no worker can run yet, e.g. while a restarted
   * worker compiles its size.
   */
  pump(): void {
    this.#failOrphans()
    if (!this.#paused) this.#assignQueued()
    // No worker will join any more: fail at once, so that clients can try another server.
    if (this.#draining && !this.available) for (const task of this.#queue.clear()) task.fail('draining', GOING_AWAY)
    this.#reportPositions()
  }

  /** While paused, no waiting task goes to a worker. */
  setPaused(paused: boolean): void {
    if (paused === this.#paused) return
    this.#paused = paused
    this.pump()
  }

  #assignQueued(): void {
    const full = new Set<string>()
    const { now } = this.#options
    const tried = new Set<Task>()
    let order = this.#queue.order(now())
    for (let task = order.shift(); task !== undefined; task = order.shift()) {
      if (tried.has(task)) continue
      tried.add(task)
      const size = `${task.job.width}x${task.job.height}`
      const worker = full.has(size) ? undefined : this.#choose(task)
      if (worker !== undefined) {
        // No memory in the gateway for its images. Stop here: smaller tasks that overtook this one would starve it.
        if (!task.reserve()) break
        this.#queue.take(task, now())
        this.#assign(task, worker)
        // Its key has paid, which may put others before its next task.
        order = this.#queue.order(now())
        continue
      }
      if (this.#anyCanRun(task)) {
        // A suspect needs an empty worker: tasks that overtook it would starve it.
        if (task.crashes > 0) break
        full.add(size)
      }
    }
  }

  /** From now on, fails queued tasks as soon as no worker is left instead of waiting for one. */
  drain(): void {
    this.#draining = true
    this.pump()
  }

  /**
   * Sends queued tasks to the workers without the PREFETCH limit, then tells the workers to drain. They know how fast
   * they are, so they choose what to finish.
   *
   * @param graceMs how long the workers may take
   */
  drainWorkers(graceMs: number): void {
    const { now } = this.#options
    for (const task of this.#queue.order(now())) {
      const worker = this.#choose(task, true)
      if (worker === undefined || !task.reserve()) continue
      this.#queue.take(task, now())
      this.#assign(task, worker)
    }
    for (const { name } of this.#accepting()) {
      this.#drainingWorkers.add(name)
      this.#options.send(name, { kind: 'DRAIN', header: { grace_ms: Math.round(graceMs) } })
    }
  }

  /** Handles a worker's message about a task. */
  receive(worker: ConnectedWorker, message: WorkMessage): void {
    const { id } = message.header
    const assignment = this.#assignments.get(id)
    // A late message about an attempt that ended or moved to another worker.
    if (assignment === undefined || assignment.worker !== worker.name) {
      this.#account(worker, undefined, message)
      return
    }
    const { task } = assignment
    if (message.kind === 'PROGRESS') {
      const { stage, step, of, preview } = message.header
      const image = assignment.undelivered.get(message.header.image)
      if (image === undefined) return
      const picture = preview && message.pixels ? { preview: { ...preview, pixels: message.pixels } } : {}
      const first = !task.started
      task.progress({ image, stage, step, of, ...picture })
      if (first) this.#started(task)
      return
    }
    const kept = message.kind === 'FAILED' ? this.#keep(worker, assignment, message) : undefined
    const used = this.#account(worker, assignment, message, kept)
    if (message.kind === 'RESULT')
      this.#result(id, assignment, message.header, message.pixels, worker.hello.model, used)
    else this.#failed(id, assignment, message.header)
  }

  /** Keeps the states of images that a leaving worker gives back. @returns the work in them */
  #keep(
    { name, session, hello }: ConnectedWorker,
    { task, undelivered }: Assignment,
    { header, frames }: Extract<WorkMessage, { kind: 'FAILED' }>
  ): ChipSeconds | undefined {
    if (header.code !== 'draining' || header.states === undefined || task.ended) return undefined
    if (hello.state_kind === undefined) return undefined
    const from = { name, session, kind: hello.state_kind, weights: hello.model, chips: chipsOf(hello) }
    const kept = this.#states.keep(task, header, frames, undelivered, from)
    const steps = Object.fromEntries([...task.states].map(([image, { form }]) => [image, form.step]))
    this.#options.log.info(
      { worker: name, request: task.id, steps },
      `worker ${name} gives back request ${task.id} with ${task.states.size} images that go on elsewhere`
    )
    return kept
  }

  /** Enters what a worker has used into the ledger. @param kept the part of it that is there. @returns it, if the worker says */
  #account(
    { name, session, hello }: ConnectedWorker,
    assignment: Assignment | undefined,
    message: WorkMessage,
    kept?: ChipSeconds
  ): ChipSeconds | undefined {
    const { ledger } = this.#options
    const said = message.kind === 'PROGRESS' ? undefined : message.header.used
    if (said === undefined) return undefined
    const used = chipSecondsOf(said, chipsOf(hello))
    // A key pays for what it got and for what it has cancelled, but not for what went wrong here.
    const lost = message.kind === 'FAILED' && !OWN_FAILURES.has(message.header.code)
    if (assignment === undefined || lost) ledger.lose(name, session, kept === undefined ? used : less(used, kept))
    else {
      const { task } = assignment
      ledger.charge(name, session, task.share, used)
      task.used = (task.used ?? 0) + sumOf(used)
    }
    return used
  }

  /**
   * Requeues a lost worker's tasks.
   *
   * @param blameless whether the loss says nothing about the tasks that ran
   */
  workerLost({ name, session, hello, heartbeat }: ConnectedWorker, blameless: boolean): void {
    this.#options.ledger.close(name, session, countOf({ hello, heartbeat }))
    this.#drainingWorkers.delete(name)
    this.#adapters.lost(name)
    const lost = [...this.#assignments].filter(([, assignment]) => assignment.worker === name)
    const again: Task[] = []
    for (const [id, { task }] of lost) {
      this.#assignments.delete(id)
      if (task.ended) {
        this.#queue.settle(task, task.used ?? 0)
        continue
      }
      task.crashes = task.running && !blameless ? task.crashes + 1 : 0
      if (!blameless) this.#states.drop(task, 'crashed')
      task.stopped()
      if (task.crashes >= MAX_CRASHES)
        task.fail('worker_crashed', 'the worker died twice in a row while it ran this request')
      else again.push(task)
    }
    this.#queue.giveBack(again)
    if (again.length > 0)
      this.#options.log.warn(
        { worker: name, requests: again.map((task) => task.id) },
        `retrying ${again.length} requests that worker ${name} had not finished`
      )
    this.pump()
  }

  /** Fails all remaining tasks and every later submit. */
  abandon(): void {
    this.#abandoned = true
    const left = [...this.#queue.clear(), ...this.running]
    this.#assignments.clear()
    for (const task of left) task.fail('draining', GOING_AWAY)
  }

  *#accepting(): Generator<ConnectedWorker, void, undefined> {
    for (const worker of this.#options.workers()) if (!this.#drainingWorkers.has(worker.name)) yield worker
  }

  /** Whether the model takes the guidance scale as an input, so that no image has a second row. */
  get embedded(): boolean {
    const workers = [...this.#options.workers()]
    return workers.length > 0 && workers.every(({ hello }) => hello.features?.includes(GUIDANCE_EMBEDDING))
  }

  /** @param everything ignore the PREFETCH limit */
  #choose(task: Task, everything = false): ConnectedWorker | undefined {
    let best: ConnectedWorker | undefined
    let bestLoad = Infinity
    const able = [...this.#accepting()].filter((worker) => this.#canRun(task, worker))
    const going = able.filter((worker) => goesOn(task, worker))
    for (const worker of going.length > 0 ? going : able) {
      const { rows, rowsOfSize, others, suspect, jobs } = this.#load(worker.name, task)
      const alone = suspect || task.crashes > 0
      // A worker has separate rows for each size. A task larger than PREFETCH allows goes out when the size is idle, and
      // the first of a key whatever others have there: the worker lets it take part at once.
      const first = rowsOfSize === others
      const room = everything || first || rowsOfSize + task.rows <= PREFETCH * worker.hello.rows
      const fits = rows === 0 || (!alone && room)
      const load = rows / worker.hello.rows + this.#adapters.cost(worker.name, task.job, jobs)
      if (fits && load < bestLoad) {
        best = worker
        bestLoad = load
      }
    }
    return best
  }

  #anyCanRun(task: Task): boolean {
    return [...this.#accepting()].some((worker) => this.#canRun(task, worker))
  }

  #canRun({ job, weights }: Task, worker: ConnectedWorker): boolean {
    const { hello } = worker
    const right = weights === undefined ? this.#options.isCurrent(worker) : sameWeights(weights, hello.model)
    return right && canRun(hello, job)
  }

  /** Fails queued tasks of weights that no worker has any more, while there are workers with others. */
  #failOrphans(): void {
    const connected = [...this.#options.workers()].map(({ hello }) => hello.model)
    if (connected.length === 0) return
    for (const task of this.#queue.all.filter(({ weights }) => weights !== undefined)) {
      if (connected.some((weights) => sameWeights(weights, task.weights!))) continue
      this.#queue.remove(task)
      task.fail('internal', MODEL_CHANGED)
    }
  }

  /**
   * Rows assigned to a worker, in total, of a task's size, and of these the other tenants'; its jobs, and whether any of
   * its tasks is a suspect.
   */
  #load(
    name: string,
    { job: { width, height }, share }: Task
  ): { rows: number; rowsOfSize: number; others: number; suspect: boolean; jobs: Job[] } {
    const jobs: Job[] = []
    let rows = 0
    let rowsOfSize = 0
    let others = 0
    let suspect = false
    for (const { task, worker } of this.#assignments.values()) {
      if (worker !== name) continue
      jobs.push(task.job)
      rows += task.rows
      if (task.job.width === width && task.job.height === height) {
        rowsOfSize += task.rows
        if (tenantName(task.share) !== tenantName(share)) others += task.rows
      }
      suspect ||= task.crashes > 0
    }
    return { rows, rowsOfSize, others, suspect, jobs }
  }

  #assign(task: Task, worker: ConnectedWorker): void {
    const { observer, now, send } = this.#options
    task.weights = worker.hello.model
    this.#adapters.assigned(worker.name, task.job)
    task.attempts += 1
    if (task.attempts > 1) observer.replay()
    // The protocol forbids reusing an id, and late messages of an earlier attempt must not match this one.
    const id = `${task.id}.${task.attempts}`
    if (!goesOn(task, worker)) {
      this.#options.log.warn(
        { worker: worker.name, request: task.id, images: task.states.size },
        `request ${task.id} starts anew on worker ${worker.name}: no worker of the kind that made its states is here`
      )
      this.#startAnew(task, 'no_worker')
    }
    const images = task.missing
    this.#assignments.set(id, {
      task,
      worker: worker.name,
      images: images.length,
      undelivered: new Map(images.entries())
    })
    const timeout_ms = Math.max(1, Math.round(task.deadline - now()))
    const { frames = [], seeds, ...header } = task.job
    const tenant = this.#tenants.of(task.share)
    const saved = [...images.entries()].flatMap(([image, index]) => {
      const state = task.states.get(index)
      if (state === undefined) return []
      const { used: _used, ...form } = state.form
      return [{ form: { ...form, image }, frame: state.frame }]
    })
    send(worker.name, {
      kind: 'GENERATE',
      header: {
        ...header,
        ...tenant,
        id,
        timeout_ms,
        seeds: images.map((index) => seeds[index]!),
        ...(worker.hello.state_kind === undefined ? {} : { max_state_bytes: MAX_STATE_BYTES }),
        ...(saved.length === 0 ? {} : { states: saved.map(({ form }) => form) })
      },
      frames: [...frames, ...saved.map(({ frame }) => frame)]
    })
  }

  /** Forgets what workers have done of a task's unfinished images. */
  #startAnew(task: Task, why: Handover): void {
    this.#states.drop(task, why)
    task.stopped()
  }

  #result(
    id: string,
    assignment: Assignment,
    result: Result,
    pixels: Uint8Array,
    model: Weights,
    used: ChipSeconds | undefined
  ): void {
    const { task, undelivered } = assignment
    const { seed, width, height, timings, latents } = result
    const image = undelivered.get(result.image)
    // A duplicate RESULT: count the image once.
    if (image === undefined && result.image < assignment.images) return
    const asked = task.job.output_type !== undefined
    if (
      image === undefined ||
      seed !== task.job.seeds[image] ||
      width !== task.job.width ||
      height !== task.job.height ||
      asked !== (latents !== undefined)
    ) {
      task.fail('internal', 'the worker returned an image with a different seed, size or type than requested')
      this.#options.send(assignment.worker, { kind: 'CANCEL', header: { id } })
      this.#release(id)
      return
    }
    undelivered.delete(result.image)
    const before = this.#states.arrived(task, image)
    const all = used && total([before.used, used])
    if (all !== undefined) {
      task.used = (task.used ?? 0) + sumOf(before.held)
      this.#options.learn(task.job, all)
    }
    task.image(image, { seed, width, height, pixels, latents, timings, model, used: all })
    this.#options.forecast.overheadTook((timings.encode_ms + timings.decode_ms) / 1000)
    if (undelivered.size === 0) this.#release(id)
  }

  #failed(id: string, { task, worker }: Assignment, { code, message }: Failed): void {
    this.#options.log.debug(
      { request: task.id, code },
      `worker ${worker} ended request ${task.id} (${code}): ${message}`
    )
    if (code === 'draining') this.#drainingWorkers.add(worker)
    if (code === 'state' && !task.ended) {
      this.#options.log.warn(
        { worker, request: task.id, images: task.states.size },
        `worker ${worker} cannot go on with request ${task.id}, which starts anew: ${message}`
      )
      // Without states the worker would say so for ever.
      if (task.states.size === 0) task.fail('internal', `the worker refused a state that it was not sent: ${message}`)
      else this.#startAnew(task, 'refused')
    }
    if ((code === 'draining' || code === 'state') && !task.ended) {
      // Requeue it: the worker leaves without finishing it, or it starts anew.
      task.stopped()
      this.#assignments.delete(id)
      this.#queue.giveBack([task])
      this.pump()
      return
    }
    task.fail(code === 'state' ? 'internal' : code, message)
    this.#release(id)
  }

  /** Ends an attempt after which the task is not tried again. */
  #release(id: string): void {
    const { task } = this.#assignments.get(id)!
    this.#assignments.delete(id)
    // Workers that do not say what they used are believed to have used what was estimated.
    if (task.used !== undefined) this.#queue.settle(task, task.used)
    this.pump()
  }

  #started(task: Task): void {
    this.#options.observer.queueWait((this.#options.now() - task.submittedAt) / 1000)
    this.#reportPositions()
  }

  /** Ends a task for its client at once. The worker frees its rows at the next step. */
  #stop(task: Task, reason: unknown): void {
    this.#queue.remove(task)
    const unserved = task.attempts === 0 && !this.available
    if (reason instanceof JobError && reason.failure === 'expired' && unserved)
      task.fail('expired', `${reason.message}: no worker was connected`)
    else if (reason instanceof JobError) task.fail(reason.failure, reason.message)
    else task.fail('cancelled', 'the request was cancelled')
    for (const [id, assignment] of this.#assignments) {
      if (assignment.task === task) this.#options.send(assignment.worker, { kind: 'CANCEL', header: { id } })
    }
    this.#reportPositions()
  }

  /**
   * Tasks in the order they will run: those at workers, then the queue.
   *
   * @param more a task placed as if it were submitted now
   */
  #inOrder(more?: Task): readonly Task[] {
    return [...this.running, ...this.#queue.order(this.#options.now(), more)]
  }

  /** Reports queue positions to listeners. A task that a worker has but has not started still counts as waiting. */
  #reportPositions(): void {
    const tasks = this.#inOrder()
    if (!tasks.some((task) => task.wantsPosition)) return
    const seconds = this.secondsUntilDone()
    let ahead = 0
    for (const [index, task] of tasks.entries()) {
      if (task.started) continue
      task.reportPosition(ahead, seconds?.[index])
      ahead += 1
    }
  }
}

/** Whether a worker can go on from a task's states, if it has any. */
function goesOn({ states, stateOrigin: from }: Task, { hello }: ConnectedWorker): boolean {
  return states.size === 0 || (hello.state_kind === from!.kind && sameWeights(hello.model, from!.weights))
}

/** How many chips a worker drives. */
function chipsOf({ devices }: Pick<Hello, 'devices'>): number {
  return Math.max(1, devices.length)
}

/** What a worker counted in its present session, in chip-seconds; undefined if it does not count. */
export function countOf({ hello, heartbeat }: Pick<ConnectedWorker, 'hello' | 'heartbeat'>): Count | undefined {
  if (heartbeat?.used === undefined) return undefined
  const { busy_ms, padding_ms } = heartbeat.used
  const chips = chipsOf(hello)
  return { busy: (busy_ms * chips) / 1000, padding: (padding_ms * chips) / 1000 }
}
