import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { ConfigError, HelpRequested } from './options.js'

/** Loads a program's settings, or ends it: with its help when that was asked for, else with a line that names the setting at fault. */
export function settingsOrExit<T>(program: string, load: () => T): T {
  try {
    return load()
  } catch (error) {
    if (error instanceof HelpRequested) {
      process.stdout.write(error.text)
      process.exit(0)
    }
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${program}: ${error.message}\n`)
    process.exit(2)
  }
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

/** Closes the program in good order at the first signal, or after an error nobody caught; a second signal ends it at once. */
export function closeOnSignal({ log, drainTimeout, margin, close }: Closing): void {
  const drainMs = drainTimeout * 1000
  closeWithGrace({ delay: drainMs + margin, logger: log }, async ({ signal, err }) => {
    if (err) log.fatal({ err }, 'stopping after an error nobody caught')
    else log.info({ signal }, `${signal}: finishing what runs, up to ${drainTimeout} s`)
    await close(err ? 0 : drainMs)
    log.flush()
  })
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
