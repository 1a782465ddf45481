import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { curveKeyPair } from 'zeromq'
import { describe, expect, it } from 'vitest'
import { makeKeys } from '../../scripts/curve-keys.mjs'
import { freePort } from '../../tools/ports.mjs'
import { generate, metric, openServer, type RunningServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

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

describe('with CURVE', () => {
  it('accepts the worker that knows the key, and counts and logs the others', async () => {
    const address = endpoint()
    const { gateway, worker } = keys()
    const server = await startServer({ WORKER: 'connect', WORKER_ENDPOINT: address, ...gateway })
    startWorker(address, 'plain')
    startWorker(address, 'known', worker)
    startWorker(address, 'other', { ...worker, EASEL_CURVE_SERVER_KEY: curveKeyPair().publicKey })
    await server.pool.firstReady
    expect((await generate(server, { prompt: 'x' })).status).toBe(200)
    await until('two peers were refused', async () => (await refused(server, 'protocol')) >= 2)
    expect(server.pool.state.workers.map(({ name }) => name)).toEqual(['known'])
    const lines = server.logs.filter(({ reason }) => reason === 'protocol')
    expect(lines.map(({ msg }) => msg)).toEqual([expect.stringContaining('EASEL_CURVE_SERVER_KEY')])
  })

  it('lets in a worker once its key is in the file, without a restart', async () => {
    const address = `tcp://127.0.0.1:${await freePort()}`
    const { folder, gateway, worker } = keys()
    const list = join(folder, 'gateway/workers')
    const right = await readFile(list)
    await writeFile(list, `# another's\n${curveKeyPair().publicKey}\n`)
    const server = await startServer({ WORKER: 'connect', WORKER_ENDPOINT: address, ...gateway })
    startWorker(address, 'new', worker)
    await until('it was refused', async () => (await refused(server, 'key')) > 0)
    expect(server.pool.state.workers).toEqual([])
    await writeFile(list, 'no key\n')
    await until('the error is logged', () => server.logs.some(({ msg }) => msg.includes('line 1 must begin')))
    expect(server.pool.state.workers).toEqual([])
    await writeFile(list, right)
    await server.pool.firstReady
    expect((await generate(server, { prompt: 'x' })).status).toBe(200)
  })

  it.each([
    ['CURVE_SECRET_KEY', 'gateway/secret', /^CURVE_SECRET_KEY: .*must contain a key of 40/],
    ['CURVE_WORKER_KEYS', 'gateway/workers', /^CURVE_WORKER_KEYS=.*: line 1 must begin with a public key/]
  ])('does not start when the file of %s has no key', async (_, file, message) => {
    const { folder, gateway } = keys()
    await writeFile(join(folder, file), 'short')
    await expect(openServer({ WORKER: 'connect', WORKER_ENDPOINT: endpoint(), ...gateway })).rejects.toThrow(message)
  })
})

/** Fresh keys, and the environments that name them. */
function keys() {
  const folder = join(mkdtempSync(join(tmpdir(), 'easel-test-')), 'keys')
  makeKeys(folder)
  return {
    folder,
    gateway: {
      CURVE_SECRET_KEY: `@${join(folder, 'gateway/secret')}`,
      CURVE_WORKER_KEYS: join(folder, 'gateway/workers')
    },
    worker: {
      EASEL_CURVE_SERVER_KEY: `@${join(folder, 'worker/gateway')}`,
      EASEL_CURVE_SECRET_KEY: `@${join(folder, 'worker/secret')}`
    }
  }
}

const refused = (server: RunningServer, reason: string) =>
  metric(server, 'easel_worker_peers_refused_total', `reason="${reason}"`)
