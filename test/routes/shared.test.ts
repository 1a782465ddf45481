import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { generate, openServer, type RunningServer } from '../support/server.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'

const START_MS = 300_000
const authorization = (name: string) => `Bearer the-secret-key-of-${name}`
const KEYS = [
  { name: 'team', key: 'the-secret-key-of-team' },
  { name: 'other', key: 'the-secret-key-of-other' },
  { name: 'slow', key: 'the-secret-key-of-slow', requests_per_minute: 2 }
]

// What test/routes/two-gateways.test.ts shows that two gateways without a common store do not do.
describe('two gateways with one job store', () => {
  let [one, other]: RunningServer[] = []
  let valkey: ValkeyServer
  const closing: (() => Promise<unknown>)[] = []

  beforeAll(async () => {
    valkey = await startValkey()
    const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
    await writeFile(join(folder, 'keys.json'), JSON.stringify({ keys: KEYS }))
    const env = {
      JOB_STORE: valkey.url,
      ACCESS_KEYS: join(folder, 'keys.json'),
      WORKER_ARGS: '--fake-step-ms 20'
    }
    const both = await Promise.all([openServer(env), openServer(env)])
    closing.push(
      ...both.map(({ stop }) => stop),
      () => valkey.stop(),
      () => rm(folder, { recursive: true })
    )
    ;[one, other] = both.map(({ server }) => server)
    await Promise.all([one!.pool.firstReady, other!.pool.firstReady])
    await until('the store answers', () => one!.jobs.store.available && other!.jobs.store.available)
  }, START_MS)
  afterAll(async () => {
    for (const close of closing) await close()
  }, START_MS)

  const ask = (server: RunningServer, body: object, headers: Record<string, string>, name = 'team') =>
    generate(
      server,
      { prompt: 'x', num_inference_steps: 2, ...body },
      {
        headers: { authorization: authorization(name), ...headers }
      }
    )

  it('make the same image for one Idempotency-Key, and refuse it with another body', async () => {
    const keyed = { 'idempotency-key': 'same' }
    const responses = await Promise.all([one!, other!].map((server) => ask(server, {}, keyed)))
    expect(responses.map(({ status }) => status)).toEqual([200, 200])
    const [first, second] = await Promise.all(
      responses.map(async (response) => Buffer.from(await response.arrayBuffer()))
    )
    expect(first).toEqual(second)
    const reused = await ask(other!, { prompt: 'y' }, keyed)
    expect(reused.status).toBe(422)
    expect(await reused.json()).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED', field: 'idempotency-key' })
    // Another caller's key of this name is another one.
    expect((await ask(other!, { prompt: 'y' }, keyed, 'other')).status).toBe(200)
  })

  it("cancel each other's requests, of the same caller only, and free the key of a cancelled one", async () => {
    const headers = { 'x-request-id': 'mine', 'idempotency-key': 'mine' }
    const asked = ask(one!, { num_inference_steps: 1000 }, headers)
    await until('the request is in flight', () => one!.service.ledger.inFlight === 1)
    const remove = (name: string) =>
      fetch(`${other!.url}/requests/mine`, { method: 'DELETE', headers: { authorization: authorization(name) } })
    expect((await remove('other')).status).toBe(404)
    expect((await remove('team')).status).toBe(204)
    expect((await asked).status).toBe(499)
    expect((await remove('team')).status).toBe(404)
    await until(
      'the key is free',
      async () => (await ask(other!, { prompt: 'y' }, { 'idempotency-key': 'mine' })).status === 200
    )
  })

  it('count the rate of a key together, and each for itself while the store is away', async () => {
    const status = async (server: RunningServer) => (await ask(server, {}, {}, 'slow')).status
    expect([await status(one!), await status(other!)]).toEqual([200, 200])
    expect([await status(one!), await status(other!)]).toEqual([429, 429])
    await valkey.kill()
    expect([await status(one!), await status(one!), await status(one!)]).toEqual([200, 200, 429])
    // A key says that nothing is made twice, which cannot be known now.
    const keyed = await ask(one!, {}, { 'idempotency-key': 'away' })
    expect([keyed.status, keyed.headers.get('retry-after')]).toEqual([503, '5'])
    expect(await keyed.json()).toMatchObject({ code: 'JOB_STORE_UNAVAILABLE' })
    expect((await ask(one!, {}, {})).status).toBe(200)
    await valkey.start()
    await until('the store answers', () => one!.jobs.store.available)
    expect((await ask(one!, {}, { 'idempotency-key': 'away' })).status).toBe(200)
  })
})
