import { randomUUID } from 'node:crypto'
import { abilitiesOf } from './abilities.js'
import { createDecoder } from './codec.js'
import { Dispatcher, type SubmitOptions } from './dispatcher.js'
import { Forecast } from './estimate.js'
import type { Log } from '../logger.js'
import type { EngineObserver, LossCause } from './events.js'
import type { Job, RawImage } from './job.js'
import { Looks } from './looks.js'
import type { Hello } from './protocol.js'
import { type ConnectedWorker, WorkerRegistry } from './registry.js'
import { together } from './sizes.js'
import { openSocket, type RouterSocket } from './socket.js'
import { Supervisor, type SupervisorOptions } from './supervisor.js'

export interface EngineOptions {
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
  spawn?: Omit<SupervisorOptions, 'looks' | 'log' | 'observer' | 'onExit' | 'onHopeless'> | undefined
  /** Returns in one line why these capabilities are not enough to serve, or undefined. Called whenever they change. */
  check?: ((capabilities: Hello) => string | undefined) | undefined
  log: Log
  observer: EngineObserver
}

/** A snapshot of the engine. */
export interface EngineState {
  readonly workers: readonly ConnectedWorker[]
  readonly workersExpected: number
  readonly queued: number
  readonly running: number
}

/** Losses that are no evidence against the jobs that ran. */
const BLAMELESS: ReadonlySet<LossCause> = new Set(['replaced', 'left', 'session'])

/** Connects the service to the workers: owns socket, registry, supervisor and dispatcher. */
export class Engine {
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
  readonly #check: (capabilities: Hello) => string | undefined
  readonly #log: Log
  #capabilities: Hello | undefined
  #problem: string | undefined
  #onFirstReady!: (hello: Hello) => void
  #draining = false

  /** Binds the socket and starts the workers without waiting for them. */
  static async open(options: EngineOptions): Promise<Engine> {
    // The registry sends through the socket and the socket delivers to the registry, so one of them comes late.
    let engine: Engine | undefined
    const socket = await openSocket({
      endpoint: options.endpoint,
      curveSecretKey: options.curveSecretKey,
      onMessage: (peer, frames) => engine && engine.#registry.receive(peer, frames),
      onUnreachable: (peer) => engine && engine.#registry.unreachable(peer)
    })
    engine = new Engine(options, socket)
    engine.#supervisor?.start()
    return engine
  }

  private constructor(options: EngineOptions, socket: RouterSocket) {
    const now = () => performance.now()
    const looks = new Looks(options.heartbeatInterval)
    const observer: EngineObserver = {
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
      looks,
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
    let onHopeless!: (error: Error) => void
    this.firstReady = new Promise((resolve, reject) => {
      this.#onFirstReady = resolve
      onHopeless = reject
    })
    // Avoid an unhandled rejection when nobody awaits it.
    this.firstReady.catch(() => undefined)
    this.#workersExpected = options.workersExpected
    if (options.spawn !== undefined) {
      this.#supervisor = new Supervisor({
        ...options.spawn,
        looks,
        log: options.log,
        observer,
        onExit: (name, cause) => this.#registry.lose(name, cause),
        onHopeless
      })
    }
    this.#heartbeat = setInterval(() => {
      looks.next()
      this.#registry.tick()
      this.#supervisor?.tick()
    }, options.heartbeatInterval)
  }

  /** What the workers can do. A worker's death alone does not change it. Undefined before the first HELLO. */
  get capabilities(): Hello | undefined {
    return this.#capabilities
  }

  get state(): EngineState {
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

  /** Why the engine cannot serve although workers are connected, in one line. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Process ids of the running workers that this engine started. */
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
   * @param graceMs how long the workers that this engine started may take before they leave. Workers started by someone
   * else are not told to leave, because another gateway may take them over
   */
  drain(graceMs: number): void {
    this.#draining = true
    if (this.#supervisor !== undefined) {
      this.#supervisor.retire()
      this.#dispatcher.sendAway(graceMs)
    }
    this.#dispatcher.drain()
  }

  /** Fails the remaining jobs, stops the workers that this engine started, and closes the socket. */
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
    const all: [Hello, ...Hello[]] = [hello, ...[...this.#registry.workers.values()].map((worker) => worker.hello)]
    const capabilities = { ...together(hello, all), ...abilitiesOf(all) }
    this.#capabilities = capabilities
    this.#learn(this.#check(capabilities))
    if (this.#problem === undefined) this.#onFirstReady(hello)
    this.#dispatcher.pump()
  }

  #learn(problem: string | undefined): void {
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
