import { randomUUID } from 'node:crypto'
import { type Capabilities, mergeCapabilities } from './capabilities.js'
import { createDecoder } from './codec.js'
import { Dispatcher, type SubmitOptions } from './dispatcher.js'
import { Forecast } from './estimate.js'
import type { Log } from '../logger.js'
import type { PoolObserver, LossCause } from './events.js'
import type { Job, RawImage } from './job.js'
import { TickCounter } from './ticks.js'
import type { Hello } from './protocol.js'
import { type ConnectedWorker, WorkerRegistry } from './registry.js'
import { openSocket, type RouterSocket } from './socket.js'
import { Supervisor, type SupervisorOptions } from './supervisor.js'

export interface PoolOptions {
  endpoint: string
  curveSecretKey?: string | undefined
  /** Digests of the gateway's tokenizers, in order. */
  tokenizers: readonly string[]
  /** ms */
  heartbeatInterval: number
  /** ms */
  heartbeatTimeout: number
  /** ms */
  stepTimeout: number
  /** Number of workers that should be connected. */
  workersExpected: number
  /** How to start workers; undefined when they are started by someone else. */
  spawn?: Omit<SupervisorOptions, 'ticks' | 'log' | 'observer' | 'onExit' | 'onUnrecoverable'> | undefined
  /** Returns in one line why these capabilities are not enough to serve, or undefined. Called whenever they change. */
  check?: ((capabilities: Capabilities) => string | undefined) | undefined
  log: Log
  observer: PoolObserver
}

/** A snapshot of the pool. */
export interface PoolState {
  readonly workers: readonly ConnectedWorker[]
  readonly workersExpected: number
  readonly queued: number
  readonly running: number
}

/** Losses that are no evidence against the jobs that ran. */
const BLAMELESS: ReadonlySet<LossCause> = new Set(['replaced', 'left', 'session'])

/** Connects the service to the workers: owns socket, registry, supervisor and dispatcher. */
export class WorkerPool {
  readonly #socket: RouterSocket
  readonly #registry: WorkerRegistry
  readonly #dispatcher: Dispatcher
  readonly #supervisor: Supervisor | undefined
  readonly #forecast = new Forecast()
  readonly #heartbeat: NodeJS.Timeout
  readonly #workersExpected: number
  /**
   * Resolves when the first worker is ready and `check` finds no problem. Rejects with WorkerCannotStart when no worker
   * was ever ready and restarting cannot help.
   */
  readonly firstReady: Promise<Hello>
  readonly #check: (capabilities: Capabilities) => string | undefined
  readonly #log: Log
  #capabilities: Capabilities | undefined
  #problem: string | undefined
  #onFirstReady!: (hello: Hello) => void
  #draining = false

  /** Binds the socket and starts the workers without waiting for them. */
  static async open(options: PoolOptions): Promise<WorkerPool> {
    // The registry sends through the socket and the socket delivers to the registry, so one of them comes late.
    let pool: WorkerPool | undefined
    const socket = await openSocket({
      endpoint: options.endpoint,
      curveSecretKey: options.curveSecretKey,
      onMessage: (peer, frames) => pool && pool.#registry.receive(peer, frames),
      onUnreachable: (peer) => pool && pool.#registry.unreachable(peer)
    })
    pool = new WorkerPool(options, socket)
    pool.#supervisor?.start()
    return pool
  }

  private constructor(options: PoolOptions, socket: RouterSocket) {
    const now = () => performance.now()
    const ticks = new TickCounter(options.heartbeatInterval)
    const observer: PoolObserver = {
      ...options.observer,
      step: (worker, seconds) => {
        this.#forecast.stepTook(seconds)
        options.observer.step(worker, seconds)
      }
    }
    this.#socket = socket
    this.#check = options.check ?? (() => undefined)
    this.#log = options.log
    this.#registry = new WorkerRegistry({
      process: randomUUID(),
      heartbeatInterval: options.heartbeatInterval,
      ticks,
      heartbeatTimeout: options.heartbeatTimeout,
      stepTimeout: options.stepTimeout,
      tokenizers: options.tokenizers,
      decode: createDecoder(),
      send: (peer, frames) => socket.send(peer, frames),
      log: options.log,
      observer,
      now,
      onReady: (worker) => this.#onReady(worker),
      onSizes: (worker) => this.#onSizes(worker),
      onLost: (worker, cause) => this.#onLost(worker, cause),
      onMessage: (worker, message) => this.#dispatcher.receive(worker, message)
    })
    this.#dispatcher = new Dispatcher({
      workers: () => this.#registry.workers.values(),
      send: (worker, message) => this.#registry.send(worker, message),
      forecast: this.#forecast,
      observer,
      log: options.log,
      now
    })
    let onUnrecoverable!: (error: Error) => void
    this.firstReady = new Promise((resolve, reject) => {
      this.#onFirstReady = resolve
      onUnrecoverable = reject
    })
    // Avoid an unhandled rejection when nobody awaits it.
    this.firstReady.catch(() => undefined)
    this.#workersExpected = options.workersExpected
    if (options.spawn !== undefined) {
      this.#supervisor = new Supervisor({
        ...options.spawn,
        ticks,
        log: options.log,
        observer,
        onExit: (name, cause) => this.#registry.lose(name, cause),
        onUnrecoverable
      })
    }
    this.#heartbeat = setInterval(() => {
      ticks.next()
      this.#registry.tick()
      this.#supervisor?.tick()
    }, options.heartbeatInterval)
  }

  /** What the workers can do. A worker's death alone does not change it. Undefined before the first HELLO. */
  get capabilities(): Capabilities | undefined {
    return this.#capabilities
  }

  get state(): PoolState {
    return {
      workers: [...this.#registry.workers.values()],
      workersExpected: this.#workersExpected,
      queued: this.#dispatcher.queued,
      running: this.#dispatcher.running.length
    }
  }

  get draining(): boolean {
    return this.#draining
  }

  /** Whether a worker is there to take a job submitted now. */
  get ready(): boolean {
    return !this.#draining && this.#problem === undefined && this.#dispatcher.available
  }

  /** Why the pool cannot serve although workers are connected, in one line. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Process ids of the running workers that this pool started. */
  get workerPids(): readonly number[] {
    return this.#supervisor?.pids ?? []
  }

  /** Seconds until half of the accepted jobs will be done. Undefined without a recent measurement or without jobs. */
  get halfBacklogSeconds(): number | undefined {
    const seconds = this.#dispatcher.secondsUntilDone()?.toSorted((a, b) => a - b)
    return seconds?.[Math.floor(seconds.length / 2)]
  }

  /** Seconds until all running and queued jobs will be done. Undefined without a recent measurement or a worker. */
  get backlogSeconds(): number | undefined {
    const { workers, queued, running } = this.state
    if (queued + running === 0) return 0
    return workers.length === 0
      ? undefined
      : this.#dispatcher.secondsUntilDone()?.reduce((latest, seconds) => Math.max(latest, seconds), 0)
  }

  /** Seconds until a job submitted now would be done. Undefined without a recent measurement. */
  secondsFor(job: Job): number | undefined {
    return this.#dispatcher.secondsUntilDone(job)?.at(-1)
  }

  /** Seconds that `steps` steps plus encoding and decoding take. Undefined without a recent measurement. */
  secondsLeft(steps: number): number | undefined {
    return this.#forecast.secondsLeft(steps)
  }

  /** Runs a job and resolves with its images. @throws JobError when the job ends any other way */
  generate(job: Job, options: SubmitOptions): Promise<RawImage[]> {
    return this.#dispatcher.submit(job, options)
  }

  /** Assigns queued jobs again. Call it when memory has become free. */
  resume(): void {
    this.#dispatcher.pump()
  }

  /**
   * Stops being ready and finishes what it can until `close`. Fails queued jobs at once when no worker is left.
   *
   * @param graceMs how long the workers that this pool started may take before they leave. Workers started by someone
   * else are not told to leave, because another gateway may take them over
   */
  drain(graceMs: number): void {
    this.#draining = true
    if (this.#supervisor !== undefined) {
      this.#supervisor.stopRestarting()
      this.#dispatcher.drainWorkers(graceMs)
    }
    this.#dispatcher.drain()
  }

  /** Fails the remaining jobs, stops the workers that this pool started, and closes the socket. */
  async close(graceMs = 5000): Promise<void> {
    this.#draining = true
    clearInterval(this.#heartbeat)
    this.#dispatcher.abandon()
    if (this.#supervisor !== undefined) {
      const connected = [...this.#registry.workers.keys()]
      for (const name of connected) this.#registry.send(name, { kind: 'DRAIN', header: { grace_ms: 0 } })
      await this.#supervisor.stop(new Set(connected), graceMs)
    }
    await this.#socket.close()
  }

  #onReady(worker: ConnectedWorker): void {
    this.#supervisor?.ready(worker.name)
    this.#onSizes(worker)
  }

  #onSizes({ hello }: ConnectedWorker): void {
    const others = [...this.#registry.workers.values()].map((worker) => worker.hello)
    this.#capabilities = mergeCapabilities(hello, [hello, ...others])
    this.#setProblem(this.#check(this.#capabilities))
    if (this.#problem === undefined) this.#onFirstReady(hello)
    this.#dispatcher.pump()
  }

  #setProblem(problem: string | undefined): void {
    if (problem !== undefined && problem !== this.#problem) this.#log.error({ problem }, `not ready: ${problem}`)
    if (problem === undefined && this.#problem !== undefined)
      this.#log.info({}, 'the problem is gone: the workers can serve now')
    this.#problem = problem
  }

  #onLost(worker: ConnectedWorker, cause: LossCause): void {
    // A frozen or hung process may resume: kill it before another worker gets its tasks.
    if (cause === 'silent' || cause === 'hung') this.#supervisor?.kill(worker.name)
    this.#dispatcher.workerLost(worker.name, BLAMELESS.has(cause))
  }
}
