#!/usr/bin/env node
import closeWithGrace from 'close-with-grace'
import { createLog } from '../log.js'
import { ConfigError, HelpRequested } from '../options.js'
import { loadWebConfig, type WebConfig } from './config.js'
import { buildWebApp } from './server.js'

/** Time beyond the drain for closing sockets, in ms. */
const CLOSE_MARGIN_MS = 2000

async function main(): Promise<void> {
  const config = readConfig()
  const log = createLog(config.logLevel, config.logFormat)
  const app = await buildWebApp({ ...config, log })
  const drainMs = config.drainTimeout * 1000
  // The first signal drains; a second one exits at once.
  closeWithGrace({ delay: drainMs + CLOSE_MARGIN_MS, logger: log }, async ({ signal, err }) => {
    if (err) log.fatal({ err }, 'stopping after an error nobody caught')
    else log.info({ signal }, `${signal}: finishing what runs, up to ${config.drainTimeout} s`)
    const cut = setTimeout(() => app.server.closeAllConnections(), err ? 0 : drainMs)
    await app.close()
    clearTimeout(cut)
    log.flush()
  })
  const listenTextResolver = (address: string) => `ready: the page is on ${address}, images come from ${config.serverUrl.href}`
  await app.listen({ host: config.host, port: config.port, listenTextResolver }).catch((error: Error) => {
    process.stderr.write(`easel-web: cannot start: ${error.message}\n`)
    process.exit(1)
  })
}

function readConfig(): WebConfig {
  try {
    return loadWebConfig()
  } catch (error) {
    if (error instanceof HelpRequested) {
      process.stdout.write(error.text)
      process.exit(0)
    }
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`easel-web: ${error.message}\n`)
    process.exit(2)
  }
}

await main()
