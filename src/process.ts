import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { ConfigError, HelpRequested, VersionRequested } from './options.js'
import { readVersion } from './version.js'

/** How long the last log lines may take to be written, in ms: nobody may be reading them. */
const LAST_LINES_MS = 500

/** Loads a program's settings, or ends it: with its help or version when that was asked for, else with a line that names the setting at fault. */
export function settingsOrExit<T>(program: string, load: () => T): T {
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
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${program}: ${error.message}\n`)
    process.exit(2)
  }
}

/** Why an address cannot be listened on: the setting at fault, and what to do. */
export function cannotListen(
  program: string,
  error: NodeJS.ErrnoException,
  { host, port, portName }: { host: string; port: number; portName: string }
): never {
  const where = `${portName}=${port} on ${host}`
  const why: Record<string, string> = {
    EADDRINUSE: `${where} is in use by another process; end it, or choose another ${portName}`,
    EACCES: `${where} may not be opened by this user; choose a ${portName} from 1024 up`,
    EADDRNOTAVAIL: `HOST=${host} is no address of this machine; localhost and 0.0.0.0 always are`,
    ENOTFOUND: `HOST=${host} is no name that this machine knows; localhost and 0.0.0.0 always will do`
  }
  cannotStart(program, new Error(why[error.code ?? ''] ?? error.message))
}

/** What stops a start is the operator's to mend: a wrong folder, an address that is taken. The message says which. */
export function cannotStart(program: string, error: Error, status = 1): never {
  process.stderr.write(`${program}: cannot start: ${error.message}\n`)
  process.exit(status)
}

export interface Closing {
  log: Logger
  /** Seconds that a signal leaves for what runs. */
  drainTimeout: number
  /** ms beyond the drain for closing sockets and processes */
  margin: number
  /** @param graceMs what is left for what runs: nothing after an error that nobody caught */
  close: (graceMs: number) => Promise<void>
}

/** The signals that ask a program to end. */
const ENDING = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const

/**
 * Signals within so many ms are one wish. A terminal and some supervisors signal the whole process group, npm passes on to
 * its child what it is sent itself, and so one Ctrl-C or one `kill` arrives twice.
 */
const ONE_WISH_MS = 1000

/**
 * Closes the program in good order at the first signal, or after an error nobody caught. A second signal ends it at once,
 * unless it comes together with the first.
 */
export function closeOnSignal({ log, drainTimeout, margin, close }: Closing): void {
  const drainMs = drainTimeout * 1000
  /** When it was told to close. */
  let asked: number | undefined
  const closing = closeWithGrace({ delay: drainMs + margin, logger: log, skip: [...ENDING] }, async ({ err }) => {
    if (err) {
      log.fatal({ err }, 'stopping after an error nobody caught')
      asked ??= -Infinity
    }
    await close(err ? 0 : drainMs)
    await Promise.race([new Promise<void>((resolve) => log.flush(() => resolve())), sleep(LAST_LINES_MS)])
  })
  for (const name of ENDING) {
    process.on(name, (signal) => {
      if (asked !== undefined) {
        if (performance.now() - asked < ONE_WISH_MS) return
        log.error({ signal }, `second ${signal}, exiting`)
        process.exit(1)
      }
      asked = performance.now()
      log.info({ signal }, `${signal}: finishing what runs, up to ${drainTimeout} s; a second signal exits at once`)
      void closing.close()
    })
  }
}

/**
 * Lets answers be sent for `ms`, then cuts whoever is still connected: Node counts a client that connected and said
 * nothing as busy for a minute.
 */
export async function closeWithin(app: FastifyInstance, ms: number): Promise<void> {
  const cut = setTimeout(() => app.server.closeAllConnections(), ms)
  await app.close()
  clearTimeout(cut)
}
