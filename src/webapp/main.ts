#!/usr/bin/env node
import { addressesOf, listen } from '../listen.js'
import { createLog } from '../log.js'
import { cannotListen, cannotStart, closeOnSignal, closeWithin, settingsOrExit } from '../process.js'
import { loadWebConfig } from './config.js'
import { buildWebApp } from './server.js'

/** Time after the drain for closing sockets, in ms. */
const CLOSE_MARGIN_MS = 2000

const PROGRAM = 'easel-web'

async function main(): Promise<void> {
  const config = settingsOrExit(PROGRAM, loadWebConfig)
  const log = createLog(config.logLevel, config.logFormat)
  const app = await buildWebApp(config, log).catch((error: Error) => cannotStart(PROGRAM, error))
  closeOnSignal({
    log,
    drainTimeout: config.drainTimeout,
    margin: CLOSE_MARGIN_MS,
    close: (graceMs) => closeWithin(app, graceMs)
  })
  const listenTextResolver = (address: string) =>
    `ready: the page is on ${address}, images come from ${config.serverUrl.href}`
  await listen(app, { addresses: await addressesOf(config.host), port: config.port, listenTextResolver }).catch(
    (error: Error) => cannotListen(PROGRAM, error, { host: config.host, port: config.port, portName: 'PORT' })
  )
}

await main()
