import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { generate, type RunningServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const KEY = 'a-key-for-this-test-only'
const authorization = `Bearer ${KEY}`

/** Two gateways, like two Pods of one Service. */
async function pods(env: NodeJS.ProcessEnv = {}): Promise<[RunningServer, RunningServer]> {
  const [one, other] = await Promise.all([startReadyServer(env), startReadyServer(env)])
  return [one, other]
}

// What docs/operations.md says about more than one Pod. If one of these fails because gateways now share state, the
// documents promise too little: remove it from that table, and "(one Pod)" from docs/promises.md.
describe('two gateways', () => {
  it('do not share idempotency keys', async () => {
    const [one, other] = await pods()
    const ask = (server: RunningServer, prompt = 'x') =>
      generate(server, { prompt, seed: 1 }, { headers: { 'idempotency-key': 'same' } })
    const [first, again, elsewhere] = [await ask(one), await ask(one), await ask(other)]
    expect([first, again, elsewhere].map(({ headers }) => headers.get('idempotent-replayed'))).toEqual([
      null,
      'true',
      null
    ])
    // With a seed, both still make the same image.
    expect(Buffer.from(await elsewhere.arrayBuffer())).toEqual(Buffer.from(await first.arrayBuffer()))
    expect([
      (await ask(one, 'y')).status,
      (await generate(other, { prompt: 'y' }, { headers: { 'idempotency-key': 'another' } })).status
    ]).toEqual([422, 200])
  })

  it("neither cancel nor stream each other's requests", async () => {
    const [one, other] = await pods({ WORKER_ARGS: '--fake-step-ms 20' })
    const asked = generate(one, { prompt: 'x', num_inference_steps: 1000 }, { headers: { 'x-request-id': 'mine' } })
    await until('the request is in flight', () => one.service.ledger.inFlight === 1)
    const remove = (server: RunningServer) => fetch(`${server.url}/requests/mine`, { method: 'DELETE' })
    expect((await fetch(`${other.url}/requests/mine/events`)).status).toBe(404)
    expect((await remove(other)).status).toBe(404)
    expect(one.service.ledger.inFlight).toBe(1)
    expect((await remove(one)).status).toBe(204)
    expect((await asked).status).toBe(499)
  })

  it("count a key's limits separately", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    await writeFile(
      join(folder, 'keys.json'),
      JSON.stringify({ keys: [{ name: 'team', key: KEY, requests_per_minute: 1 }] })
    )
    const [one, other] = await pods({ ACCESS_KEYS: join(folder, 'keys.json') })
    const ask = async (server: RunningServer) =>
      (await generate(server, { prompt: 'x' }, { headers: { authorization } })).status
    expect([await ask(one), await ask(one), await ask(other)]).toEqual([200, 429, 200])
  })
})

it.each([
  'queue full',
  'cannot finish before its deadline',
  'DELETE /requests/{id}',
  'Idempotency-Key',
  'a key over its rate'
])('docs/promises.md limits its promise about %s to one Pod', async (promise) => {
  const promises = (await readFile(join(packageRoot, 'docs/promises.md'), 'utf8')).split('\n')
  const situation = promises
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split('|')[1] ?? '')
    .find((cell) => cell.includes(promise))
  expect(situation).toContain('(one Pod)')
})
