import { type ChildProcess, spawn } from 'node:child_process'
import type { Log } from '../logger.js'
import type { EngineObserver } from './events.js'
import { joinLog } from './join-log.js'
import { allRead, type Looks } from './looks.js'

const MAX_BACKOFF_MS = 30_000
/** A worker that was ready for this long starts its backoff anew when it dies. */
const STABLE_MS = 60_000
/** Exit status of a worker that the gateway refused: starting it again would change nothing. */
const REFUSED_STATUS = 3
/** Exit statuses of a worker that would end in the same way again: a setting is wrong, it was refused, the model is wrong (easel_worker/exit_status.py). */
const UNCHANGING: ReadonlySet<number | null> = new Set([2, REFUSED_STATUS, 7])
/** The program cannot be run, whoever tries. */
const NO_PROGRAM: ReadonlySet<string | undefined> = new Set(['ENOENT', 'EACCES', 'ENOTDIR', 'ENOEXEC'])
/** How long the last lines of a dead worker's log may take to be read, in ms. */
const LAST_WORDS_MS = 1000
/** Exit status of a worker whose own watchdog found it hung (easel_worker/exit_status.py). */
const HUNG_STATUS = 6

export interface SupervisorOptions {
  command: string
  /** Arguments for the worker of this name. */
  args: (name: string) => string[]
  cwd: string
  names: readonly string[]
  /** ms before the first restart */
  backoff: number
  /** ms that a worker may take to say HELLO */
  startTimeout: number
  /** Counted on before each `tick`. */
  looks: Looks
  log: Log
  observer: EngineObserver
  /** A worker's process ended; its connection is dead even if the socket does not know yet. */
  onExit: (name: string, cause: 'exited' | 'hung') => void
  /** No worker was ever ready, and this one cannot become it, however often it is started: it is not started again. */
  onHopeless: (error: WorkerCannotStart) => void
}

/** A worker ended for a reason that will not change. The message has the last line of its log. */
export class WorkerCannotStart extends Error {
  /** Its exit status; 1 where there is none. */
  readonly status: number

  constructor(name: string, how: string, lastLine: string | undefined, status: number | null) {
    super(`worker ${name} ${how}${lastLine === undefined ? '' : `: ${lastLine}`}`)
    this.name = 'WorkerCannotStart'
    this.status = status ?? 1
  }
}

interface Child {
  process: ChildProcess | undefined
  deaths: number
  restart: NodeJS.Timeout | undefined
  /** Look when the process was started. */
  startedLook: number
  readyAt: number | undefined
  /** The last line of its log that says what is wrong. */
  lastWords: () => string | undefined
}

/**
 * Starts worker processes, joins their logs to the gateway's, and starts them again when they die.
 *
 * A worker's standard input stays open as long as the gateway lives: when it closes, the worker exits, so even a
 * gateway that was killed leaves no orphan.
 */
export class Supervisor {
  readonly #options: SupervisorOptions
  readonly #children = new Map<string, Child>()
  #stopping = false
  /** Whether a worker was ready once. */
  #proven = false

  constructor(options: SupervisorOptions) {
    this.#options = options
    for (const name of options.names) {
      this.#children.set(name, {
        process: undefined,
        deaths: 0,
        restart: undefined,
        startedLook: 0,
        readyAt: undefined,
        lastWords: () => undefined
      })
    }
  }

  start(): void {
    for (const name of this.#children.keys()) this.#spawn(name)
  }

  /** Process ids of the workers that run. */
  get pids(): number[] {
    return [...this.#children.values()].flatMap(({ process }) => process?.pid ?? [])
  }

  /** The worker said HELLO. */
  ready(name: string): void {
    const child = this.#children.get(name)
    if (child === undefined) return
    child.readyAt = performance.now()
    this.#proven = true
  }

  /** Ends workers that have taken too long to say HELLO. To be called once for each look. */
  tick(): void {
    for (const [name, child] of this.#children) if (this.#overdue(child)) void this.#endOverdue(name, child)
  }

  /** Ends a worker that hangs; it is started again like any dead one. */
  kill(name: string): void {
    this.#children.get(name)?.process?.kill('SIGKILL')
  }

  /** Starts no worker any more. */
  retire(): void {
    this.#stopping = true
    for (const child of this.#children.values()) clearTimeout(child.restart)
  }

  /**
   * Waits until every worker has exited; after `grace` ms those that have not are killed.
   *
   * @param asked workers that were told to leave; the others learn it by their standard input
   */
  async stop(asked: ReadonlySet<string>, grace: number): Promise<void> {
    this.retire()
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
    const { command, args, cwd, looks, log } = this.#options
    const child = this.#children.get(name)!
    child.readyAt = undefined
    child.startedLook = looks.now
    let process: ChildProcess
    try {
      // In a group of its own: a Ctrl-C in a terminal is for the gateway, which lets the worker finish what runs.
      process = spawn(command, args(name), { cwd, detached: true, stdio: ['pipe', 'pipe', 'pipe'] })
    } catch (error) {
      // Some failures are thrown (no memory, arguments that are too long), others are events.
      this.#ended(name, `could not be started: ${(error as Error).message}`, null, false)
      return
    }
    child.process = process
    const { log: workerLog, lastWords } = remembering(log.child({ worker: name, pid: process.pid }))
    child.lastWords = lastWords
    // Without file descriptors left there are no streams, whatever their types say; the event 'error' follows.
    for (const output of [process.stdout, process.stderr]) if (output) joinLog(output, workerLog)
    // A worker that dies while we write to it is reported by its exit.
    process.stdin?.on('error', () => undefined)
    let gone = false
    const end = (how: string, status: number | null, unchanging: boolean) => {
      if (gone) return
      gone = true
      this.#ended(name, how, status, unchanging)
    }
    process.once('error', (error: NodeJS.ErrnoException) =>
      end(`could not be started: ${error.message}`, null, NO_PROGRAM.has(error.code))
    )
    process.once('exit', (code, signal) =>
      end(signal === null ? `exited with status ${code}` : `was killed by ${signal}`, code, UNCHANGING.has(code))
    )
  }

  #overdue({ process, readyAt, startedLook }: Child): boolean {
    const { looks, startTimeout } = this.#options
    return process !== undefined && readyAt === undefined && !this.#stopping && looks.over(startedLook, startTimeout)
  }

  /** Its HELLO may lie unread, as when the gateway has just stood still. */
  async #endOverdue(name: string, child: Child): Promise<void> {
    const { process } = child
    await allRead()
    if (child.process !== process || !this.#overdue(child)) return
    process?.kill('SIGKILL')
    this.#options.log.error(
      { worker: name },
      `worker ${name} was not ready within ${this.#options.startTimeout / 1000} s`
    )
  }

  #ended(name: string, how: string, status: number | null, unchanging: boolean): void {
    const { log, observer, onExit, backoff } = this.#options
    const child = this.#children.get(name)!
    const { process } = child
    child.process = undefined
    onExit(name, status === HUNG_STATUS ? 'hung' : 'exited')
    if (this.#stopping) return
    const hopeless = unchanging && !this.#proven
    if (status === REFUSED_STATUS)
      log.error(
        { worker: name },
        `worker ${name} was refused and is not started again; mend what its refusal names, then restart the gateway`
      )
    else if (hopeless)
      log.error({ worker: name }, `worker ${name} ${how} and is not started again: it would end in the same way`)
    if (hopeless) void this.#giveUp(name, how, status, process)
    if (hopeless || status === REFUSED_STATUS) return
    const stable = child.readyAt !== undefined && performance.now() - child.readyAt > STABLE_MS
    child.deaths = stable ? 1 : child.deaths + 1
    const wait = Math.min(backoff * 2 ** (child.deaths - 1), MAX_BACKOFF_MS)
    log.error({ worker: name, deaths: child.deaths }, `worker ${name} ${how}; it is started again in ${wait / 1000} s`)
    child.restart = setTimeout(() => {
      observer.restart(name)
      this.#spawn(name)
    }, wait)
  }

  /** Its last lines may be unread yet; a process of its own that it left behind may keep them from ever ending. */
  async #giveUp(name: string, how: string, status: number | null, process: ChildProcess | undefined): Promise<void> {
    const streams = [process?.stdout, process?.stderr].filter((stream) => stream != null && !stream.closed)
    const read = Promise.all(streams.map((stream) => new Promise((resolve) => stream!.once('close', resolve))))
    await Promise.race([read, new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS).unref())])
    this.#options.onHopeless(new WorkerCannotStart(name, how, this.#children.get(name)!.lastWords(), status))
  }
}

/** A log that remembers the last error that went through it, or failing that the last warning. */
function remembering(log: Log): { log: Log; lastWords: () => string | undefined } {
  let warning: string | undefined
  let error: string | undefined
  return {
    lastWords: () => error ?? warning,
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
