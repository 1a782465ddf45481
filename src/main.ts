#!/usr/bin/env node
import closeWithGrace from 'close-with-grace'
import type { AddressInfo } from 'node:net'
import { type Config, ConfigError, HelpRequested, loadConfig } from './config.js'
import { createLog } from './log.js'
import { createServer } from './server.js'

/** Time beyond the drain for closing sockets and processes, in ms. */
const CLOSE_MARGIN_MS = 4000

async function main(): Promise<void> {
  const config = readConfig()
  const log = createLog(config.logLevel, config.logFormat)
  const server = await createServer(config, log).catch(cannotStart)
  const drainMs = config.drainTimeout * 1000
  // The first signal drains; a second one exits at once.
  closeWithGrace({ delay: drainMs + CLOSE_MARGIN_MS, logger: log }, async ({ signal, err }) => {
    if (err) log.fatal({ err }, 'stopping after an error nobody caught')
    else log.info({ signal }, `${signal}: finishing what runs, up to ${config.drainTimeout} s`)
    await server.close(err ? 0 : drainMs)
    log.info({}, 'stopped')
    log.flush()
  })
  const next = config.worker === 'spawn' ? 'the worker loads and compiles the model' : `waiting for a worker on ${config.workerEndpoint}`
  await server.app
    .listen({ host: config.host, port: config.port, listenTextResolver: (address) => `listening on ${address}; ${next}` })
    .then(() => server.admin?.listen({ host: config.host, port: config.adminPort!, listenTextResolver: (address) => `health and metrics on ${address}` }))
    .catch(async (error: Error) => {
      await server.close(0)
      cannotStart(error)
    })
  const { port } = server.app.server.address() as AddressInfo
  const address = `http://${config.host === '0.0.0.0' ? 'localhost' : config.host}:${port}`
  const { model } = await server.engine.firstReady
  log.info({ address }, `ready: ${model.id} on ${address}\n\n  ${curlLine(address)}\n`)
}

function curlLine(address: string): string {
  return `curl -o out.png -H 'content-type: application/json' -d '{"prompt":"a red circle on a blue background"}' ${address}/generate`
}

/** What stops a start is the operator's to mend: a wrong folder, an address that is taken. The message says which. */
function cannotStart(error: Error): never {
  process.stderr.write(`easel: cannot start: ${error.message}\n`)
  process.exit(1)
}

function readConfig(): Config {
  try {
    return loadConfig()
  } catch (error) {
    if (error instanceof HelpRequested) {
      process.stdout.write(error.text)
      process.exit(0)
    }
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`easel: ${error.message}\n`)
    process.exit(2)
  }
}

await main()
