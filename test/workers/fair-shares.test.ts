import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, type RunningServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const KEYS = {
  many: { name: 'many', key: 'many-requests-secret' },
  one: { name: 'one', key: 'one-request-secret-1' },
  slow: { name: 'slow', key: 'slow-batches-secret', batch_only: true }
}

/** A server whose only worker does what the test says, with one row. */
async function scripted(): Promise<{ server: RunningServer; worker: ScriptedWorker }> {
  const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const path = join(folder, 'keys.json')
  await writeFile(path, JSON.stringify({ keys: Object.values(KEYS) }))
  const server = await startServer({ WORKER: 'connect', ACCESS_KEYS: path, DEFAULT_GUIDANCE_SCALE: '1' })
  const real = startWorker(server.endpoint, 'real')
  const hello = await server.pool.firstReady
  real.kill('SIGTERM')
  await until('it has left', () => server.pool.state.workers.length === 0)
  const worker = new ScriptedWorker(server.endpoint, 'scripted', { ...hello, rows: 1 })
  await worker.hello()
  await until('it is connected', () => server.pool.state.workers.length === 1)
  return { server, worker }
}

const ask = (server: RunningServer, { key }: { key: string }, seed: number, body: object = {}) =>
  generate(
    server,
    { prompt: 'x', width: 64, height: 64, num_inference_steps: 10, seed, ...body },
    { headers: { authorization: `Bearer ${key}` } }
  )

it("one key's request is next although another has many waiting, and batch requests come last", async () => {
  const { server, worker } = await scripted()
  const answers: Promise<Response>[] = []
  const accept = async (key: { key: string }, seed: number, body: object = {}) => {
    const before = server.service.ledger.accepted
    answers.push(ask(server, key, seed, body))
    await until('it is accepted', () => server.service.ledger.accepted === before + 1)
  }
  for (const seed of [1, 2, 3, 4, 5, 6]) await accept(KEYS.many, seed)
  await accept(KEYS.slow, 30)
  await accept(KEYS.many, 40, { priority: 'batch' })
  for (const seed of [20, 21]) await accept(KEYS.one, seed)
  const order: number[] = []
  while (order.length < answers.length) {
    await until('a job has come', () => worker.jobs.length > 0)
    order.push(...worker.jobs.map(({ seeds }) => seeds[0]!))
    await worker.finish()
  }
  // The worker had the first two before anybody else came.
  expect(order.slice(0, 2)).toEqual([1, 2])
  const later = order.slice(2)
  expect(later.indexOf(20)).toBeLessThan(2)
  expect(later.indexOf(21)).toBeLessThan(4)
  expect(later.filter((seed) => seed < 10)).toEqual([3, 4, 5, 6])
  expect(new Set(later.slice(-2))).toEqual(new Set([30, 40]))
  for (const answer of answers) expect((await answer).status).toBe(200)
})

it('refuses interactive requests of a key for batch requests', async () => {
  const { server } = await scripted()
  const refused = await ask(server, KEYS.slow, 1, { priority: 'interactive' })
  expect(refused.status).toBe(400)
  expect(await refused.json()).toMatchObject({
    code: 'INVALID_REQUEST',
    field: 'priority',
    message: expect.stringContaining('batch')
  })
  expect((await ask(server, KEYS.one, 1, { priority: 'urgent' })).status).toBe(400)
})
