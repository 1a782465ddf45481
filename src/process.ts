import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { OptionError, HelpRequested, VersionRequested } from './options.js'
import { readVersion } from './version.js'

/** How long to wait for the last log lines to be written, in ms. Bounded, because nobody may be reading them. */
const LAST_LINES_MS = 500

/** Loads a program's options. Prints --help or --version and exits; exits with status 2 for a wrong option. */
export function optionsOrExit<T>(program: string, load: () => T): T {
  try {
    return load()
  } catch (error) {
    if (error instanceof HelpRequested) {
      process.stdout.write(error.text)
      process.exit(0)
    }
    if (error instanceof VersionRequested) {
      process.stdout.write(`${program} ${readVersion()}\n`)
      process.exit(0)
    }
    if (!(error instanceof OptionError)) throw error
    process.stderr.write(`${program}: ${error.message}\n`)
    process.exit(2)
  }
}

/** Exits because an address cannot be listened on. The message names the option and says what to do. */
export function cannotListen(
  program: string,
  error: NodeJS.ErrnoException,
  { host, port, portName }: { host: string; port: number; portName: string }
): never {
  const where = `${portName}=${port} on ${host}`
  const why: Record<string, string> = {
    EADDRINUSE: `${where} is in use by another process; stop it or choose another ${portName}`,
    EACCES: `this user may not open ${where}; choose a ${portName} of 1024 or above`,
    EADDRNOTAVAIL: `HOST=${host} is not an address of this machine; localhost and 0.0.0.0 always work`,
    ENOTFOUND: `this machine cannot resolve HOST=${host}; localhost and 0.0.0.0 always work`
  }
  cannotStart(program, new Error(why[error.code ?? ''] ?? error.message))
}

/** Exits with a one-line message and no stack trace, because the operator must fix the cause. */
export function cannotStart(program: string, error: Error, status = 1): never {
  process.stderr.write(`${program}: cannot start: ${error.message}\n`)
  process.exit(status)
}

export interface Closing {
  log: Logger
  /** Seconds that running requests may take after a signal. */
  drainTimeout: number
  /** ms beyond the drain for closing sockets and processes */
  margin: number
  /** @param graceMs how long running requests may take, in ms; 0 after an uncaught error */
  close: (graceMs: number) => Promise<void>
}

const ENDING = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const

/**
 * Signals within this many ms of the first count as one. Terminals and some supervisors signal the whole process group,
 * and npm forwards its own signals to its child, so one Ctrl-C or `kill` can arrive twice.
 */
const SAME_SIGNAL_MS = 1000

/**
 * Shuts the program down cleanly on the first signal or an uncaught error. A second signal, unless it is a duplicate of
 * the first, exits at once.
 */
export function closeOnSignal({ log, drainTimeout, margin, close }: Closing): void {
  const drainMs = drainTimeout * 1000
  /** When the shutdown began; -Infinity after an uncaught error, so that any signal exits at once. */
  let asked: number | undefined
  const closing = closeWithGrace({ delay: drainMs + margin, logger: log, skip: [...ENDING] }, async ({ err }) => {
    if (err) {
      log.fatal({ err }, 'stopping after an uncaught error')
      asked ??= -Infinity
    }
    await close(err ? 0 : drainMs)
    await Promise.race([new Promise<void>((resolve) => log.flush(() => resolve())), sleep(LAST_LINES_MS)])
  })
  for (const name of ENDING) {
    process.on(name, (signal) => {
      if (asked !== undefined) {
        if (performance.now() - asked < SAME_SIGNAL_MS) return
        log.error({ signal }, `second ${signal}, exiting`)
        process.exit(1)
      }
      asked = performance.now()
      log.info(
        { signal },
        `${signal}: finishing running requests for up to ${drainTimeout} s; a second signal exits at once`
      )
      void closing.close()
    })
  }
}

/**
 * Closes the app: lets it finish sending answers for `ms`, then closes all connections. Otherwise Node would wait up
 * to a minute for a client that connected without sending anything.
 */
export async function closeWithin(app: FastifyInstance, ms: number): Promise<void> {
  const cut = setTimeout(() => app.server.closeAllConnections(), ms)
  await app.close()
  clearTimeout(cut)
}
