import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { curveKeyPair } from 'zeromq'
import { expect, it } from 'vitest'
import { generate, openServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function endpoint(): string {
  return `ipc://${join(tmpdir(), `easel-test-${randomUUID()}.sock`)}`
}

it('serves with external workers, started before or after the gateway', async () => {
  const address = endpoint()
  startWorker(address, 'early')
  const server = await startServer({ WORKER: 'connect', WORKER_ENDPOINT: address })
  await until('the early worker is connected', () => server.pool.state.workers.length === 1)
  expect((await generate(server, { prompt: 'x' })).status).toBe(200)
  const late = startWorker(address, 'late')
  await until('both workers are connected', () => server.pool.state.workers.length === 2)
  late.kill('SIGTERM')
  await once(late, 'exit')
  await until('the late worker has left', () => server.pool.state.workers.length === 1)
  expect((await generate(server, { prompt: 'x' })).status).toBe(200)
})

it.each(['127.0.0.1', '[::1]', 'localhost'])('serves with a worker over tcp://%s', async (host) => {
  const address = `tcp://${host}:${await freePort()}`
  const server = await startServer({ WORKER: 'connect', WORKER_ENDPOINT: address })
  startWorker(address, 'near')
  await server.pool.firstReady
  expect((await generate(server, { prompt: 'x' })).status).toBe(200)
})

it('an external worker outlives its gateway and serves the next one', async () => {
  const address = endpoint()
  startWorker(address, 'survivor')
  const first = await openServer({ WORKER: 'connect', WORKER_ENDPOINT: address })
  await first.server.pool.firstReady
  await first.stop()
  const second = await startServer({ WORKER: 'connect', WORKER_ENDPOINT: address })
  await second.pool.firstReady
  expect((await generate(second, { prompt: 'x' })).status).toBe(200)
})

it('with CURVE accepts only the worker that knows the key', async () => {
  const address = endpoint()
  const [gateway, worker] = [curveKeyPair(), curveKeyPair()]
  const server = await startServer({ WORKER: 'connect', WORKER_ENDPOINT: address, CURVE_SECRET_KEY: gateway.secretKey })
  const keyFile = join(tmpdir(), `easel-test-${randomUUID()}.key`)
  await writeFile(keyFile, worker.secretKey, { mode: 0o600 })
  startWorker(address, 'plain')
  startWorker(address, 'known', { EASEL_CURVE_SERVER_KEY: gateway.publicKey, EASEL_CURVE_SECRET_KEY: `@${keyFile}` })
  await server.pool.firstReady
  expect((await generate(server, { prompt: 'x' })).status).toBe(200)
  expect(server.pool.state.workers.map(({ name }) => name)).toEqual(['known'])
})
