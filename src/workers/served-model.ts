import type { Log } from '../logger.js'
import { type Capabilities, chanceOf, fieldInTheWay, mergeCapabilities } from './capabilities.js'
import { ChipLedger, type ChipSeconds, sumOf } from './chip-ledger.js'
import { countOf, Dispatcher, type SubmitOptions } from './dispatcher.js'
import { Forecast } from './estimate.js'
import type { PoolObserver } from './events.js'
import type { Share } from './fair-queue.js'
import type { Job, RawImage } from './job.js'
import { type Extent, nominalChipSeconds, PriceList } from './prices.js'
import { describeWeights, sameWeights, type Weights } from './models.js'
import type { GatewayMessage, Hello } from './protocol.js'
import type { ConnectedWorker, Refusal, WorkMessage } from './registry.js'
import type { Memory } from './saved-states.js'

/** Most weights remembered. Bounded, because workers choose their digests. */
const MAX_SEEN = 64

/** The least that a job counts for, in chip-seconds. */
const MIN_COST = 1e-6

/** A model that requests can choose. */
export interface ModelOptions {
  /** Its name. Undefined for a server's only model, which has the name that its workers report. */
  name: string | undefined
  /** The device that it shares with other models, which take turns; undefined if its workers always run. */
  device?: string | undefined
  /** Digests of the gateway's tokenizers for it, in order. A worker with different ones is refused. */
  tokenizers: readonly string[]
  /** Returns in one line why these capabilities are not enough to serve, or undefined. Called whenever they change. */
  check?: ((capabilities: Capabilities) => string | undefined) | undefined
}

/** What a model knows of the device that it shares with others. */
export interface Turns {
  /** Whether it has the device. */
  has: (model: ServedModel) => boolean
  /** Whether it has the device, or will get it when requests wait for it. */
  expects: (model: ServedModel) => boolean
  /** Seconds until its workers can run a job submitted now. */
  delayOf: (model: ServedModel) => number
}

export interface ServedModelOptions extends ModelOptions {
  send: (worker: string, message: GatewayMessage) => void
  /** See `DispatcherOptions`. */
  holdStates: (bytes: number) => Memory | undefined
  observer: PoolObserver
  log: Log
  /** Monotonic clock in ms. */
  now: () => number
}

/**
 * A model with its workers, its queue and its forecast. Jobs of one model never wait for those of another.
 *
 * Its workers may have different weights while new ones are rolled out. The newest weights that a connected worker has
 * are the current ones; newest means first seen last. Jobs that no worker has yet go to workers with the current
 * weights. A job that a worker has had stays with that worker's weights, so one request never mixes two.
 */
export class ServedModel {
  /** Resolves when its first worker is ready and `check` finds no problem. See `fail`. */
  readonly firstReady: Promise<Hello>
  /** Seconds that loading it took the last time. Undefined before that, and if it shares no device. */
  swapSeconds: number | undefined
  readonly #options: ServedModelOptions
  readonly #workers = new Map<string, ConnectedWorker>()
  readonly #forecast = new Forecast()
  readonly #prices = new PriceList()
  readonly #ledger = new ChipLedger()
  readonly #dispatcher: Dispatcher
  /** All weights that its workers have had, in the order in which they were first seen. */
  readonly #seen: Weights[] = []
  #current: Weights | undefined
  #capabilities: Capabilities | undefined
  #problem: string | undefined
  /** The HELLOs that the capabilities are merged from. */
  #merged: readonly Hello[] = []
  #rows = 0
  #turns: Turns | undefined
  #draining = false
  #onFirstReady!: (hello: Hello) => void
  #onFailure!: (error: Error) => void

  constructor(options: ServedModelOptions) {
    this.#options = options
    this.#dispatcher = new Dispatcher({
      workers: () => this.#workers.values(),
      workerSteps: (scheduler, steps) => this.#workerSteps(scheduler, steps),
      cost: (job) => this.#cost(job),
      learn: (job, used) => this.#prices.learn(job, this.#extentOf(job), used),
      ledger: this.#ledger,
      holdStates: options.holdStates,
      isCurrent: (worker) => this.isCurrent(worker),
      rows: () => this.#rows,
      delay: () => this.#turns?.delayOf(this) ?? 0,
      send: options.send,
      forecast: this.#forecast,
      observer: options.observer,
      log: options.log,
      now: options.now
    })
    this.firstReady = new Promise((resolve, reject) => {
      this.#onFirstReady = resolve
      this.#onFailure = reject
    })
    // Avoid an unhandled rejection when nobody awaits it.
    this.firstReady.catch(() => undefined)
  }

  /** The name that the operator gave it, if any. */
  get declaredName(): string | undefined {
    return this.#options.name
  }

  /** Undefined only for a server's only model, before its first worker. */
  get name(): string | undefined {
    return this.#options.name ?? this.#current?.id
  }

  get device(): string | undefined {
    return this.#options.device
  }

  /** What its workers can do. A worker's death alone does not change it. Undefined before the first HELLO. */
  get capabilities(): Capabilities | undefined {
    return this.#capabilities
  }

  /** Its connected workers, also those with older weights. */
  get workers(): readonly ConnectedWorker[] {
    return [...this.#workers.values()]
  }

  /** Whether a worker is there to take a job submitted now, or will be loaded for it. */
  get ready(): boolean {
    const available = this.#dispatcher.available || (this.#capabilities !== undefined && this.#turns?.expects(this))
    return !this.#draining && this.#problem === undefined && available === true
  }

  /** False while another model has the device that both share. */
  get loaded(): boolean {
    return this.#turns?.has(this) ?? true
  }

  /** Whether a worker is connected and none still compiles anything. */
  get complete(): boolean {
    return this.#workers.size > 0 && this.workers.every(({ hello }) => isComplete(hello))
  }

  /** Whether a worker has a job. */
  get busy(): boolean {
    return this.#dispatcher.busy
  }

  /** When its oldest waiting job was submitted, in ms; undefined if none waits. */
  get oldestQueuedAt(): number | undefined {
    return this.#dispatcher.oldestQueuedAt
  }

  /** Why it cannot be served although workers are connected, in one line. */
  get problem(): string | undefined {
    return this.#problem
  }

  get queued(): number {
    return this.#dispatcher.queued
  }

  get running(): number {
    return this.#dispatcher.running.length
  }

  /** Seconds until half of its accepted jobs will be done. Undefined without a recent measurement or without jobs. */
  get halfBacklogSeconds(): number | undefined {
    const seconds = this.#dispatcher.secondsUntilDone()?.toSorted((a, b) => a - b)
    return seconds?.[Math.floor(seconds.length / 2)]
  }

  /** Seconds until all its jobs will be done. Undefined without a recent measurement or a worker. */
  get backlogSeconds(): number | undefined {
    if (this.queued + this.running === 0) return 0
    return this.#workers.size === 0 && !this.ready
      ? undefined
      : this.#dispatcher.secondsUntilDone()?.reduce((latest, seconds) => Math.max(latest, seconds), 0)
  }

  /** Names of the LoRAs of its jobs: of those that a worker has, and of those that wait. */
  get adapters(): { readonly running: readonly string[]; readonly waiting: readonly string[] } {
    return this.#dispatcher.adapters
  }

  /** Chip-seconds that its jobs will still take, measured or not, with or without a worker. */
  get backlogChipSeconds(): number {
    return this.#dispatcher.backlogChipSeconds
  }

  /** Seconds until a job submitted now would be done. Undefined without a recent measurement. */
  secondsFor(job: Job, share: Share): number | undefined {
    return this.#dispatcher.secondsFor(job, share)
  }

  /** What a job will probably use. Undefined before the first image. */
  chipSecondsFor(job: Job): ChipSeconds | undefined {
    return this.#prices.estimate(job, this.#extentOf(job))
  }

  /** Who used its chips. */
  get usage(): ReturnType<ChipLedger['read']> {
    return this.#ledger.read(
      this.workers.map(({ name, session, hello, heartbeat }) => ({
        name,
        session,
        count: countOf({ hello, heartbeat })
      }))
    )
  }

  /** Seconds that these steps of a request plus encoding and decoding take. Undefined without a recent measurement. */
  secondsLeft(scheduler: string, steps: number): number | undefined {
    return this.#forecast.secondsLeft(this.#workerSteps(scheduler, steps))
  }

  /**
   * Whether one of its workers can run a job, if not now then when it has compiled everything: the capabilities are what
   * they can do together. A worker that was lost counts while its capabilities do. `field` is the request's field that
   * no worker can do with the rest, if it is one.
   */
  chanceOf(job: Job): { readonly when: 'now' | 'later' | 'never'; readonly field?: string | undefined } {
    // Of a model that takes turns, the worker is not there, or prepares again what it could do.
    const when = this.#turns === undefined ? chanceOf(this.#merged, job) : 'now'
    return when === 'never' ? { when, field: fieldInTheWay(this.#merged, job) } : { when }
  }

  /** Runs a job and resolves with its images. @throws JobError when the job ends any other way */
  generate(job: Job, options: SubmitOptions): Promise<RawImage[]> {
    return this.#dispatcher.submit(job, options)
  }

  /** Whether a worker has the weights that new jobs go to. */
  isCurrent({ hello }: ConnectedWorker): boolean {
    return this.#current !== undefined && sameWeights(hello.model, this.#current)
  }

  /** Why a worker is not one of this model's, or undefined. */
  refusal(worker: string, { tokenizers, model }: Hello): Refusal | undefined {
    const digests = tokenizers.map(({ digest }) => digest)
    const ours = this.#options.tokenizers
    if (digests.length !== ours.length || digests.some((digest, index) => digest !== ours[index]))
      return {
        code: 'tokenizer',
        message: `the worker's model has other tokenizers than the gateway's ${this.#options.name ?? 'MODEL'} folder; start both with the same model`,
        theirs: digests,
        ours
      }
    const other = this.workers.find(({ name, hello }) => name !== worker && hello.model.id !== model.id)
    if (other === undefined) return undefined
    return {
      code: 'model',
      message: `the worker has the model ${model.id}, and worker ${other.name} has ${other.hello.model.id}; to serve several models, name them in MODELS`,
      theirs: model,
      ours: other.hello.model
    }
  }

  /** A worker's HELLO was accepted. */
  joined(worker: ConnectedWorker): void {
    const { model } = worker.hello
    this.#workers.set(worker.name, worker)
    if (!this.#seen.some((weights) => sameWeights(weights, model))) this.#seen.push(model)
    if (this.#seen.length > MAX_SEEN) this.#seen.shift()
    this.changed(worker)
    if (!this.isCurrent(worker))
      this.#options.log.warn(
        { worker: worker.name, model, current: this.#current },
        `worker ${worker.name} has older weights, ${describeWeights(model)}, and gets no new requests; restart it with ${describeWeights(this.#current!)}`
      )
  }

  /** A worker has joined, or its sizes have changed. */
  changed(worker: ConnectedWorker): void {
    this.#chooseWeights()
    if (this.isCurrent(worker)) this.#merge(worker.hello)
    this.#dispatcher.pump()
  }

  /** @param blameless whether the loss says nothing about the jobs that ran */
  lost(worker: ConnectedWorker, blameless: boolean): void {
    this.#workers.delete(worker.name)
    if (this.#chooseWeights()) this.#merge(this.workers.find((each) => this.isCurrent(each))!.hello)
    const left = this.workers.filter((each) => this.isCurrent(each))
    if (left.length > 0) this.#rows = rowsOf(left)
    this.#dispatcher.workerLost(worker, blameless)
  }

  receive(worker: ConnectedWorker, message: WorkMessage): void {
    this.#dispatcher.receive(worker, message)
  }

  /** Makes it take turns with other models. */
  takeTurns(turns: Turns): void {
    this.#turns = turns
  }

  /** While paused, no waiting job goes to a worker. */
  setPaused(paused: boolean): void {
    this.#dispatcher.setPaused(paused)
  }

  /** Records the duration of one denoising step. */
  stepTook(seconds: number): void {
    this.#forecast.stepTook(seconds)
  }

  /** Assigns queued jobs again. Call it when memory has become free. */
  resume(): void {
    this.#dispatcher.pump()
  }

  /** No worker was ever ready, and none can become ready. */
  fail(error: Error): void {
    this.#onFailure(error)
  }

  /**
   * Stops being ready and finishes what it can until `abandon`. Fails queued jobs at once when no worker is left.
   *
   * @param graceMs how long the workers may take before they leave; undefined if they are not told to leave
   */
  drain(graceMs: number | undefined): void {
    this.#draining = true
    if (graceMs !== undefined) this.#dispatcher.drainWorkers(graceMs)
    this.#dispatcher.drain()
  }

  /** Fails all remaining jobs and every later one. */
  abandon(): void {
    this.#draining = true
    this.#dispatcher.abandon()
  }

  #cost(job: Job): number {
    const estimate = this.chipSecondsFor(job)
    // Credit of nothing would never run out.
    return Math.max(MIN_COST, estimate === undefined ? nominalChipSeconds(job, this.#extentOf(job)) : sumOf(estimate))
  }

  #extentOf({ scheduler, steps }: Job): Extent {
    return { embedded: this.#dispatcher.embedded, evaluations: this.#workerSteps(scheduler, steps) / steps }
  }

  #workerSteps(scheduler: string, steps: number): number {
    const twice = this.#capabilities?.secondOrder.includes(scheduler) === true
    return twice ? Math.max(0, 2 * steps - 1) : steps
  }

  /** Makes the newest weights among the connected workers current. @returns whether they changed */
  #chooseWeights(): boolean {
    const has = (weights: Weights) => this.workers.some(({ hello }) => sameWeights(hello.model, weights))
    const newest = this.#seen.findLast(has)
    const before = this.#current
    if (newest === undefined || (before !== undefined && sameWeights(before, newest))) return false
    this.#current = newest
    if (before !== undefined)
      this.#options.log.warn(
        { before, model: newest },
        `the model has changed from ${describeWeights(before)} to ${describeWeights(newest)}`
      )
    return true
  }

  #merge(latest: Hello): void {
    const current = this.workers.filter((worker) => this.isCurrent(worker))
    this.#merged = current.map(({ hello }) => hello)
    this.#capabilities = mergeCapabilities(latest, [...this.#merged, ...this.#keptCapabilities()])
    this.#rows = rowsOf(current)
    this.#setProblem(this.#options.check?.(this.#capabilities))
    if (this.#problem === undefined) this.#onFirstReady(latest)
  }

  /**
   * What a model that takes turns could do before: each time it is loaded, its worker begins with one size and prepares
   * the rest again. Jobs for the rest wait.
   */
  #keptCapabilities(): Capabilities[] {
    const before = this.#capabilities
    const kept = this.#turns !== undefined && before !== undefined && sameWeights(before.model, this.#current!)
    return kept ? [before] : []
  }

  #setProblem(problem: string | undefined): void {
    const { log } = this.#options
    if (problem !== undefined && problem !== this.#problem) log.error({ problem }, `not ready: ${problem}`)
    if (problem === undefined && this.#problem !== undefined)
      log.info({}, 'the problem is gone: the workers can serve now')
    this.#problem = problem
  }
}

function isComplete({ coming = [], coming_features = [], coming_max_chunks = 1, limits }: Hello): boolean {
  return coming.length + coming_features.length === 0 && coming_max_chunks <= (limits.max_chunks ?? 1)
}

function rowsOf(workers: readonly ConnectedWorker[]): number {
  return workers.reduce((sum, { hello }) => sum + hello.rows, 0)
}
