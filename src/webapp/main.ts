#!/usr/bin/env node
import { addressesOf, listen } from '../listen.js'
import { createLog } from '../log.js'
import { cannotListen, cannotStart, closeOnSignal, closeWithin, optionsOrExit } from '../process.js'
import { loadWebOptions } from './web-options.js'
import { buildWebApp } from './server.js'

/** Time after the drain for closing sockets, in ms. */
const CLOSE_MARGIN_MS = 2000

const PROGRAM = 'easel-web'

async function main(): Promise<void> {
  const options = optionsOrExit(PROGRAM, loadWebOptions)
  const log = createLog(options.logLevel, options.logFormat)
  const app = await buildWebApp(options, log).catch((error: Error) => cannotStart(PROGRAM, error))
  closeOnSignal({
    log,
    drainTimeout: options.drainTimeout,
    margin: CLOSE_MARGIN_MS,
    close: (graceMs) => closeWithin(app, graceMs)
  })
  const listenTextResolver = (address: string) =>
    `ready: the page is on ${address}, images come from ${options.serverUrl.href}`
  await listen(app, { addresses: await addressesOf(options.host), port: options.port, listenTextResolver }).catch(
    (error: Error) => cannotListen(PROGRAM, error, { host: options.host, port: options.port, portName: 'PORT' })
  )
}

await main()
