import { randomUUID } from 'node:crypto'
import type { Log } from '../logger.js'
import { createDecoder } from './codec.js'
import type { CurveKeys } from './curve.js'
import type { LossCause, PoolObserver, RefusedConnection } from './events.js'
import type { Hello } from './protocol.js'
import { type ConnectedWorker, type Refusal, WorkerRegistry } from './registry.js'
import type { Memory } from './saved-states.js'
import { type ModelOptions, ServedModel } from './served-model.js'
import { SharedDevice } from './shared-device.js'
import { openSocket, type RouterSocket } from './socket.js'
import { Supervisor, type SupervisorOptions } from './supervisor.js'
import { TickCounter } from './ticks.js'

export interface PoolOptions {
  endpoint: string
  /** Undefined for a socket without encryption. */
  curve?: CurveKeys | undefined
  /** The models to serve, at least one; the first is the default. */
  models: readonly ModelOptions[]
  /** ms */
  heartbeatInterval: number
  /** ms */
  heartbeatTimeout: number
  /** ms */
  stepTimeout: number
  /** Number of workers that should be connected. */
  workersExpected: number
  /** ms that a model with work keeps a shared device while requests for another one wait */
  swapWait: number
  /** How to start workers; undefined when they are started by someone else. Models that share a device need it. */
  spawn?: Omit<SupervisorOptions, 'received' | 'ticks' | 'log' | 'observer' | 'onExit' | 'onUnrecoverable'> | undefined
  /** Accounts for the bytes of unfinished images between two workers; undefined if there is no room. */
  holdStates: (bytes: number) => Memory | undefined
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

/** How long a worker may take to leave when its model is swapped, in ms. */
const PARK_MS = 10_000

/** Losses that are no evidence against the jobs that ran. */
const BLAMELESS: ReadonlySet<LossCause> = new Set(['replaced', 'left', 'session'])

/** Connects the service to the workers: owns the socket, the registry, the supervisor and the models. */
export class WorkerPool {
  /** The models, the default one first. */
  readonly models: readonly ServedModel[]
  readonly #socket: RouterSocket
  readonly #registry: WorkerRegistry
  readonly #supervisor: Supervisor | undefined
  readonly #devices: readonly SharedDevice[]
  readonly #heartbeat: NodeJS.Timeout
  readonly #workersExpected: number
  #draining = false
  /** Which model `resume` begins with, so that each is first in turn. */
  #first = 0

  /** Binds the socket and starts the workers without waiting for them. */
  static async open(options: PoolOptions): Promise<WorkerPool> {
    // The registry sends through the socket and the socket delivers to the registry, so one of them comes late.
    let pool: WorkerPool | undefined
    const socket = await openSocket({
      endpoint: options.endpoint,
      curve: options.curve,
      onMessage: (peer, frames) => pool && pool.#registry.receive(peer, frames),
      onUnreachable: (peer) => pool && pool.#registry.unreachable(peer),
      onRefused: strangers(options),
      onKeyError: (error) =>
        options.log.error({}, `CURVE_WORKER_KEYS cannot be used, so the previous keys stay valid: ${error.message}`)
    })
    pool = new WorkerPool(options, socket)
    pool.#supervisor?.start((model) => pool.models[model]!.loaded)
    return pool
  }

  private constructor(options: PoolOptions, socket: RouterSocket) {
    const { log } = options
    const now = () => performance.now()
    const ticks = new TickCounter(options.heartbeatInterval)
    const observer: PoolObserver = {
      ...options.observer,
      step: (worker, seconds) => {
        const connected = this.#registry.workers.get(worker)
        if (connected !== undefined) this.#modelOf(connected.hello)?.stepTook(seconds)
        options.observer.step(worker, seconds)
      }
    }
    this.#socket = socket
    this.#workersExpected = options.workersExpected
    this.models = options.models.map(
      (model) =>
        new ServedModel({
          ...model,
          send: (worker, message) => this.#registry.send(worker, message),
          holdStates: options.holdStates,
          observer,
          log,
          now
        })
    )
    this.#registry = new WorkerRegistry({
      process: randomUUID(),
      heartbeatInterval: options.heartbeatInterval,
      ticks,
      heartbeatTimeout: options.heartbeatTimeout,
      stepTimeout: options.stepTimeout,
      refusal: (worker, hello) => this.#refusal(worker, hello),
      decode: createDecoder(),
      peerOf: socket.peerOf,
      send: (peer, frames) => socket.send(peer, frames),
      received: () => socket.received(),
      log,
      observer,
      now,
      onReady: (worker) => this.#onReady(worker),
      onGrown: (worker) => this.#modelOf(worker.hello)?.changed(worker),
      onLost: (worker, cause) => this.#onLost(worker, cause),
      onMessage: (worker, message) => this.#modelOf(worker.hello)?.receive(worker, message)
    })
    if (options.spawn !== undefined) {
      this.#supervisor = new Supervisor({
        ...options.spawn,
        ticks,
        received: () => socket.received(),
        log,
        observer,
        onExit: (name, cause, finished) => void this.#onExit(name, cause, finished),
        onUnrecoverable: (error, model) => this.models[model]?.fail(error)
      })
    }
    this.#devices = this.#devicesOf(options, now)
    this.#heartbeat = setInterval(() => {
      ticks.next()
      this.#registry.tick()
      this.#supervisor?.tick()
      if (!this.#draining) for (const device of this.#devices) device.tick()
    }, options.heartbeatInterval)
  }

  /** The model of requests that name none. */
  get defaultModel(): ServedModel {
    return this.models[0]!
  }

  /** Resolves when the first model is ready. Rejects with WorkerCannotStart when one cannot become ready before that. */
  get firstReady(): Promise<Hello> {
    return Promise.race(this.models.map(({ firstReady }) => firstReady))
  }

  get state(): PoolState {
    return {
      workers: [...this.#registry.workers.values()],
      workersExpected: this.#workersExpected,
      queued: this.models.reduce((sum, { queued }) => sum + queued, 0),
      running: this.models.reduce((sum, { running }) => sum + running, 0)
    }
  }

  get draining(): boolean {
    return this.#draining
  }

  /** Whether any model is ready. */
  get ready(): boolean {
    return this.models.some(({ ready }) => ready)
  }

  /** Process ids of the running workers that this pool started. */
  get workerPids(): readonly number[] {
    return this.#supervisor?.pids ?? []
  }

  /**
   * Seconds until all running and queued jobs of all models will be done. Undefined if that of a model with jobs is
   * unknown.
   */
  get backlogSeconds(): number | undefined {
    const all = this.models.map(({ backlogSeconds }) => backlogSeconds)
    return all.every((seconds) => seconds !== undefined) ? Math.max(...all) : undefined
  }

  /** Assigns queued jobs again. Call it when memory has become free. */
  resume(): void {
    this.#first = (this.#first + 1) % this.models.length
    for (const model of [...this.models.slice(this.#first), ...this.models.slice(0, this.#first)]) model.resume()
  }

  /**
   * Stops being ready and finishes what it can until `close`. Fails queued jobs at once when no worker is left.
   *
   * @param graceMs how long the workers that this pool started may take before they leave. Workers started by someone
   * else are not told to leave, because another gateway may take them over
   */
  drain(graceMs: number): void {
    this.#draining = true
    this.#supervisor?.stopRestarting()
    for (const model of this.models) model.drain(this.#supervisor === undefined ? undefined : graceMs)
  }

  /** Fails the remaining jobs, stops the workers that this pool started, and closes the socket. */
  async close(graceMs = 5000): Promise<void> {
    this.#draining = true
    clearInterval(this.#heartbeat)
    for (const model of this.models) model.abandon()
    if (this.#supervisor !== undefined) {
      const connected = [...this.#registry.workers.keys()]
      for (const name of connected) this.#registry.send(name, { kind: 'DRAIN', header: { grace_ms: 0 } })
      await this.#supervisor.stop(new Set(connected), graceMs)
    }
    await this.#socket.close()
  }

  /** The model of a worker with this HELLO. A server's only model takes workers of any name. */
  #modelOf({ model }: Hello): ServedModel | undefined {
    const [only] = this.models
    if (this.models.length === 1 && only!.declaredName === undefined) return only
    return this.models.find(({ declaredName }) => declaredName === model.id)
  }

  #refusal(worker: string, hello: Hello): Refusal | undefined {
    const model = this.#modelOf(hello)
    if (model !== undefined) return model.refusal(worker, hello)
    const names = this.models.map(({ name }) => name)
    return {
      code: 'model',
      message: `the worker has the model ${hello.model.id}, which MODELS does not name; start it with --model-name ${names.join(' or ')}, or name it in MODELS`,
      theirs: hello.model,
      ours: names
    }
  }

  #onReady(worker: ConnectedWorker): void {
    this.#supervisor?.ready(worker.name)
    const model = this.#modelOf(worker.hello)
    model?.joined(worker)
    if (model !== undefined) for (const device of this.#devices) device.ready(model)
  }

  /**
   * Loses the worker of a process that has ended. The last messages of one that has `finished` may still be unread, and
   * with them what it gave back, which must neither start anew nor be blamed.
   */
  async #onExit(name: string, cause: LossCause, finished: boolean): Promise<void> {
    const worker = this.#registry.workers.get(name)
    if (finished && worker !== undefined) await this.#socket.received()
    if (this.#registry.workers.get(name) === worker) this.#registry.lose(name, cause)
    const model = this.models[this.#supervisor!.modelOf(name)]!
    for (const device of this.#devices) device.died(model)
  }

  #devicesOf({ swapWait, log, observer }: PoolOptions, now: () => number): SharedDevice[] {
    const names = new Set(this.models.flatMap(({ device }) => device ?? []))
    return [...names].map(
      (name) =>
        new SharedDevice({
          name,
          models: this.models.filter(({ device }) => device === name),
          swapWait,
          start: (model) => {
            for (const worker of this.#workersOf(model)) this.#supervisor!.unpark(worker)
          },
          stop: async (model) => {
            await Promise.all(this.#workersOf(model).map((worker) => this.#park(worker)))
          },
          onSwap: (model, seconds) => observer.swap(model.name!, seconds),
          log,
          now
        })
    )
  }

  #workersOf(model: ServedModel): readonly string[] {
    return this.#supervisor!.workersOf(this.models.indexOf(model))
  }

  async #park(worker: string): Promise<void> {
    const connected = this.#registry.workers.has(worker)
    if (connected) this.#registry.send(worker, { kind: 'DRAIN', header: { grace_ms: 0 } })
    await this.#supervisor!.park(worker, connected, PARK_MS)
  }

  #onLost(worker: ConnectedWorker, cause: LossCause): void {
    // A frozen or hung process may resume: kill it before another worker gets its tasks.
    if (cause === 'silent' || cause === 'hung') this.#supervisor?.kill(worker.name)
    this.#modelOf(worker.hello)?.lost(worker, BLAMELESS.has(cause))
  }
}

const REFUSED: Record<RefusedConnection, string> = {
  key: "a peer's CURVE key is not in CURVE_WORKER_KEYS; add the public key of each worker to that file",
  protocol:
    'a peer on the worker socket has no CURVE keys or not those of this gateway (EASEL_CURVE_SERVER_KEY), or is no worker',
  handshake: 'a peer on the worker socket did not say in time who it is'
}

/** Counts refused peers, and logs the first for each reason: anybody may cause any number. */
function strangers({ log, observer }: PoolOptions): (reason: RefusedConnection) => void {
  const logged = new Set<RefusedConnection>()
  return (reason) => {
    observer.peerRefused(reason)
    if (logged.has(reason)) return
    logged.add(reason)
    log.warn({ reason }, `${REFUSED[reason]}; further ones are only counted`)
  }
}
