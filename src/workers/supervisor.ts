import { type ChildProcess, spawn } from 'node:child_process'
import type { Log } from '../logger.js'
import type { PoolObserver } from './events.js'
import { forwardLog } from './forward-log.js'
import type { TickCounter } from './ticks.js'

const MAX_BACKOFF_MS = 30_000
/** After being ready for this long, a worker's next death restarts the backoff from the beginning. */
const STABLE_MS = 60_000
/** Exit status of a worker that the gateway refused. Restarting it cannot help. */
const REFUSED_STATUS = 3
/** Exit statuses that a restart cannot change: wrong option, refused, wrong model (easel_worker/exit_status.py). */
const PERMANENT: ReadonlySet<number | null> = new Set([2, REFUSED_STATUS, 7])
/** Spawn errors that a retry cannot change. */
const NO_PROGRAM: ReadonlySet<string | undefined> = new Set(['ENOENT', 'EACCES', 'ENOTDIR', 'ENOEXEC'])
/** How long to wait for the end of a dead worker's log, in ms. */
const LOG_END_MS = 1000
/** Exit status of a worker whose own watchdog found it hung (easel_worker/exit_status.py). */
const HUNG_STATUS = 6

/** A worker process to start. */
export interface WorkerProcess {
  name: string
  /** Index of its model. */
  model: number
  args: readonly string[]
  /** Environment variables on top of those of all workers. */
  env: Readonly<Record<string, string>>
}

export interface SupervisorOptions {
  command: string
  cwd: string
  /** Environment of all workers. */
  env: NodeJS.ProcessEnv
  workers: readonly WorkerProcess[]
  /** ms before the first restart */
  backoff: number
  /** ms that a worker may take to send HELLO */
  startTimeout: number
  /** Advanced before each call of `tick`. */
  ticks: TickCounter
  /** Resolves when all received messages are read. */
  received: () => Promise<void>
  log: Log
  observer: PoolObserver
  /**
   * A worker's process ended, or could not be started. The socket may not know yet. `finished`: it gave back what it had
   * and ended by itself, because somebody else told it to.
   */
  onExit: (name: string, cause: 'exited' | 'hung' | 'left', finished: boolean) => void
  /** No worker of this model was ever ready, and restarting one cannot help, so it is not restarted. */
  onUnrecoverable: (error: WorkerCannotStart, model: number) => void
}

/** A worker ended for a reason that a restart cannot change. The message ends with its last logged error or warning. */
export class WorkerCannotStart extends Error {
  /** The worker's exit status, or 1 if it has none. */
  readonly status: number

  constructor(name: string, how: string, lastLine: string | undefined, status: number | null) {
    super(`worker ${name} ${how}${lastLine === undefined ? '' : `: ${lastLine}`}`)
    this.name = 'WorkerCannotStart'
    this.status = status ?? 1
  }
}

interface Child {
  readonly worker: WorkerProcess
  /** Called when the process has ended; defined while it is stopped on purpose. */
  onParked: (() => void) | undefined
  parked: boolean
  process: ChildProcess | undefined
  deaths: number
  restart: NodeJS.Timeout | undefined
  /** Tick at which the process was started. */
  startedTick: number
  readyAt: number | undefined
  /** The last error of its log, or else its last warning. */
  lastLogLine: () => string | undefined
}

/**
 * Starts worker processes, merges their logs into the gateway's, and restarts them when they die.
 *
 * A worker exits when its standard input closes. The pipe stays open as long as the gateway lives, so even a gateway
 * killed with -9 leaves no orphan.
 */
export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #children = new Map<string, Child>()
  #stopping = false
  /** Indexes of the models of which a worker has ever been ready. */
  readonly #everReady = new Set<number>()

  constructor(options: SupervisorOptions) {
    this.#options = options
    for (const worker of options.workers) {
      this.#children.set(worker.name, {
        worker,
        parked: false,
        onParked: undefined,
        process: undefined,
        deaths: 0,
        restart: undefined,
        startedTick: 0,
        readyAt: undefined,
        lastLogLine: () => undefined
      })
    }
  }

  /** Starts the workers of the models that `starts` selects by their index. The others are parked. */
  start(starts: (model: number) => boolean): void {
    for (const [name, child] of this.#children) {
      child.parked = !starts(child.worker.model)
      if (!child.parked) this.#spawn(name)
    }
  }

  /** Index of a worker's model. */
  modelOf(name: string): number {
    return this.#children.get(name)!.worker.model
  }

  /** Names of a model's workers. */
  workersOf(model: number): readonly string[] {
    return this.#options.workers.filter((worker) => worker.model === model).map(({ name }) => name)
  }

  /** Process ids of the running workers. */
  get pids(): number[] {
    return [...this.#children.values()].flatMap(({ process }) => process?.pid ?? [])
  }

  /** The worker's HELLO was accepted. */
  ready(name: string): void {
    const child = this.#children.get(name)
    if (child === undefined) return
    child.readyAt = performance.now()
    this.#everReady.add(child.worker.model)
  }

  /** Kills workers that have not sent HELLO in time. Call it once per tick. */
  tick(): void {
    for (const [name, child] of this.#children) if (this.#overdue(child)) void this.#endOverdue(name, child)
  }

  /** Kills a worker. It is restarted like any that dies. */
  kill(name: string): void {
    this.#children.get(name)?.process?.kill('SIGKILL')
  }

  /**
   * Stops a worker and does not restart it until `unpark`. Resolves when its process has ended.
   *
   * @param asked whether it was already told to leave; otherwise its standard input is closed
   * @param grace ms after which it is killed
   */
  async park(name: string, asked: boolean, grace: number): Promise<void> {
    const child = this.#children.get(name)
    if (child === undefined) return
    child.parked = true
    clearTimeout(child.restart)
    const { process } = child
    if (process === undefined) return
    if (!asked) process.stdin?.end()
    const kill = setTimeout(() => process.kill('SIGKILL'), grace)
    await new Promise<void>((resolve) => (child.onParked = resolve))
    clearTimeout(kill)
  }

  /** Starts a parked worker. */
  unpark(name: string): void {
    const child = this.#children.get(name)
    if (child === undefined || !child.parked || this.#stopping) return
    child.parked = false
    child.deaths = 0
    this.#spawn(name)
  }

  /** Starts no more workers. */
  stopRestarting(): void {
    this.#stopping = true
    for (const child of this.#children.values()) clearTimeout(child.restart)
  }

  /**
   * Waits until every worker has exited. Kills those still running after `grace` ms.
   *
   * @param asked workers already told to leave; the standard input of all others is closed
   */
  async stop(asked: ReadonlySet<string>, grace: number): Promise<void> {
    this.stopRestarting()
    const exits: Promise<unknown>[] = []
    for (const [name, child] of this.#children) {
      if (child.process === undefined) continue
      const { process } = child
      exits.push(new Promise((resolve) => process.once('exit', resolve)))
      if (!asked.has(name)) process.stdin?.end()
    }
    const kill = setTimeout(() => {
      for (const child of this.#children.values()) child.process?.kill('SIGKILL')
    }, grace)
    await Promise.all(exits)
    clearTimeout(kill)
  }

  #spawn(name: string): void {
    const { command, cwd, ticks, log } = this.#options
    const child = this.#children.get(name)!
    const { args, env } = child.worker
    child.readyAt = undefined
    child.startedTick = ticks.now
    let process: ChildProcess
    try {
      // Own process group: Ctrl-C in a terminal must reach only the gateway, which lets workers finish.
      process = spawn(command, args, {
        cwd,
        env: { ...this.#options.env, ...env },
        detached: true,
        stdio: ['pipe', 'pipe', 'pipe']
      })
    } catch (error) {
      // spawn throws some failures (no memory, arguments too long) and emits others as 'error'.
      this.#ended(name, `could not be started: ${(error as Error).message}`, null, false)
      return
    }
    child.process = process
    const { log: workerLog, lastLogLine } = withLastLine(log.child({ worker: name, pid: process.pid }))
    child.lastLogLine = lastLogLine
    // Despite their types the streams are undefined when no file descriptors are left; 'error' follows.
    for (const output of [process.stdout, process.stderr]) if (output) forwardLog(output, workerLog)
    // EPIPE when the worker dies: its exit is reported separately.
    process.stdin?.on('error', () => undefined)
    let gone = false
    const end = (how: string, status: number | null, permanent: boolean) => {
      if (gone) return
      gone = true
      this.#ended(name, how, status, permanent)
    }
    process.once('error', (error: NodeJS.ErrnoException) =>
      end(`could not be started: ${error.message}`, null, NO_PROGRAM.has(error.code))
    )
    process.once('exit', (code, signal) =>
      end(signal === null ? `exited with status ${code}` : `was killed by ${signal}`, code, PERMANENT.has(code))
    )
  }

  #overdue({ process, readyAt, startedTick }: Child): boolean {
    const { ticks, startTimeout } = this.#options
    return process !== undefined && readyAt === undefined && !this.#stopping && ticks.passed(startedTick, startTimeout)
  }

  /** Kills a worker if it is still overdue once all received messages are read: the gateway may have stalled. */
  async #endOverdue(name: string, child: Child): Promise<void> {
    const { process } = child
    await this.#options.received()
    if (child.process !== process || !this.#overdue(child)) return
    process?.kill('SIGKILL')
    this.#options.log.error(
      { worker: name },
      `worker ${name} was not ready within ${this.#options.startTimeout / 1000} s`
    )
  }

  #ended(name: string, how: string, status: number | null, permanent: boolean): void {
    const { log, observer, onExit, backoff } = this.#options
    const child = this.#children.get(name)!
    const { process } = child
    child.process = undefined
    onExit(name, child.parked ? 'left' : status === HUNG_STATUS ? 'hung' : 'exited', status === 0 && !child.parked)
    child.onParked?.()
    child.onParked = undefined
    if (this.#stopping || child.parked) return
    const unrecoverable = permanent && !this.#everReady.has(child.worker.model)
    if (status === REFUSED_STATUS)
      log.error(
        { worker: name },
        `worker ${name} was refused and will not be restarted; fix what its refusal names, then restart the gateway`
      )
    else if (unrecoverable)
      log.error({ worker: name }, `worker ${name} ${how} and will not be restarted: it would fail the same way again`)
    if (unrecoverable) void this.#reportUnrecoverable(name, how, status, process)
    if (unrecoverable || status === REFUSED_STATUS) return
    const stable = child.readyAt !== undefined && performance.now() - child.readyAt > STABLE_MS
    child.deaths = stable ? 1 : child.deaths + 1
    const wait = Math.min(backoff * 2 ** (child.deaths - 1), MAX_BACKOFF_MS)
    log.error({ worker: name, deaths: child.deaths }, `worker ${name} ${how}; restarting it in ${wait / 1000} s`)
    child.restart = setTimeout(() => {
      observer.restart(name)
      this.#spawn(name)
    }, wait)
  }

  /** Waits for the rest of the worker's log, at most LOG_END_MS: a child it left behind may keep the pipes open. */
  async #reportUnrecoverable(
    name: string,
    how: string,
    status: number | null,
    process: ChildProcess | undefined
  ): Promise<void> {
    const streams = [process?.stdout, process?.stderr].filter((stream) => stream != null && !stream.closed)
    const read = Promise.all(streams.map((stream) => new Promise((resolve) => stream!.once('close', resolve))))
    await Promise.race([read, new Promise((resolve) => setTimeout(resolve, LOG_END_MS).unref())])
    const { worker, lastLogLine } = this.#children.get(name)!
    this.#options.onUnrecoverable(new WorkerCannotStart(name, how, lastLogLine(), status), worker.model)
  }
}

/** Wraps a log; `lastLogLine` is its last error, or else its last warning. */
function withLastLine(log: Log): { log: Log; lastLogLine: () => string | undefined } {
  let warning: string | undefined
  let error: string | undefined
  return {
    lastLogLine: () => error ?? warning,
    log: {
      trace: (fields, message) => log.trace(fields, message),
      debug: (fields, message) => log.debug(fields, message),
      info: (fields, message) => log.info(fields, message),
      warn: (fields, message) => {
        warning = message
        log.warn(fields, message)
      },
      error: (fields, message) => {
        error = message
        log.error(fields, message)
      },
      child: (fields) => log.child(fields)
    }
  }
}
