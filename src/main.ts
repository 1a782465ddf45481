#!/usr/bin/env node
import type { AddressInfo } from 'node:net'
import { loadOptions, requireModels } from './gateway-options.js'
import { makeRoomForPictures } from './heap.js'
import { addressesOf, listen } from './listen.js'
import type { WorkerCannotStart } from './workers/supervisor.js'
import { createLog } from './log.js'
import { cannotListen, cannotStart, closeOnSignal, optionsOrExit } from './process.js'
import { createServer } from './server.js'

/** Time beyond the drain for closing sockets and processes, in ms. */
const CLOSE_MARGIN_MS = 4000

const PROGRAM = 'easel'

async function main(): Promise<void> {
  makeRoomForPictures()
  const options = optionsOrExit(PROGRAM, () => requireModels(loadOptions()))
  const log = createLog(options.logLevel, options.logFormat)
  const server = await createServer(options, log).catch((error: Error) => cannotStart(PROGRAM, error))
  closeOnSignal({
    log,
    drainTimeout: options.drainTimeout,
    margin: CLOSE_MARGIN_MS,
    async close(graceMs) {
      await server.close(graceMs)
      log.info({}, 'stopped')
    }
  })
  const next =
    options.worker === 'spawn'
      ? 'the worker loads and compiles the model'
      : `waiting for a worker on ${options.workerEndpoint}`
  const onFailure = (portName: string, port: number) => async (error: Error) => {
    // Silence the log, including the workers', so that the error below is the last line.
    log.level = 'silent'
    await server.close(0)
    cannotListen(PROGRAM, error, { host: options.host, port, portName })
  }
  const addresses = await addressesOf(options.host)
  await listen(server.app, {
    addresses,
    port: options.port,
    listenTextResolver: (address) => `listening on ${address}; ${next}`
  }).catch(onFailure('PORT', options.port))
  if (server.admin !== undefined && options.adminPort !== undefined) {
    await listen(server.admin, {
      addresses,
      port: options.adminPort,
      listenTextResolver: (address) => `health and metrics on ${address}`
    }).catch(onFailure('ADMIN_PORT', options.adminPort))
  }
  const { port } = server.app.server.address() as AddressInfo
  const address = `http://${visitable(options.host)}:${port}`
  const waiting = server.pool.models.map(async ({ firstReady }, index) => {
    const { model } = await firstReady
    log.info(
      { address },
      `ready: ${model.id} on ${address}\n\n  ${curlLine(address, index === 0 ? undefined : model.id)}\n`
    )
  })
  await Promise.all(waiting).catch(async (error: WorkerCannotStart) => {
    await server.close(0)
    cannotStart(PROGRAM, error, error.status)
  })
}

/** The host to use in a URL on this machine: localhost for "every interface"; an IPv6 address in brackets. */
function visitable(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost'
  return host.includes(':') ? `[${host}]` : host
}

/** @param model the name to choose; undefined for the default model */
function curlLine(address: string, model: string | undefined): string {
  const body = JSON.stringify({ prompt: 'a red circle on a blue background', model })
  return `curl -o out.png -H 'content-type: application/json' -d '${body}' ${address}/generate`
}

await main()
