import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { drawn } from '../support/pictures.js'
import { readyAddress, startProcess } from '../support/process.js'
import { generate, openServer, type RunningServer, startServer } from '../support/server.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'

const START_MS = 300_000
const MOST = 3
const KEY = 'the-secret-key-of-the-team'
const HEADERS = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' }
const PLACES = 'easel:{jobs}:places:team'
/** Takes minutes unless it is cancelled. */
const LONG = { prompt: 'x', num_inference_steps: 1000, timeout: 600 }

describe('two gateways with one job store, and a key that may have three requests in flight', () => {
  let valkey: ValkeyServer
  let env: NodeJS.ProcessEnv
  let gateways: readonly RunningServer[] = []
  const closing: (() => Promise<unknown>)[] = []

  beforeAll(async () => {
    valkey = await startValkey()
    const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
    const file = join(folder, 'keys.json')
    const keys = [
      { name: 'team', key: KEY, concurrent_requests: MOST },
      { name: 'other', key: 'the-secret-key-of-others', concurrent_requests: MOST }
    ]
    await writeFile(file, JSON.stringify({ keys }))
    env = {
      JOB_STORE: valkey.url,
      ACCESS_KEYS: file,
      JOB_CLAIM_TIMEOUT: '3',
      WORKER_ARGS: '--fake-step-ms 50',
      REQUEST_TIMEOUT: '600'
    }
    const both = await Promise.all([openServer(env), openServer(env)])
    closing.push(
      ...both.map(({ stop }) => stop),
      () => valkey.stop(),
      () => rm(folder, { recursive: true })
    )
    gateways = both.map(({ server }) => server)
    await Promise.all(gateways.map(({ pool }) => pool.firstReady))
  }, START_MS)
  afterAll(async () => {
    for (const close of closing) await close()
  }, START_MS)
  const storeAnswers = () => until('the store answers', () => gateways.every(({ jobs }) => jobs.store.available))
  let leaving: AbortController
  beforeEach(() => {
    leaving = new AbortController()
    return storeAnswers()
  })
  afterEach(() => {
    leaving.abort()
    return inFlightAre(0)
  })

  const inFlight = () => gateways.reduce((sum, { service }) => sum + service.ledger.inFlight, 0)
  const inFlightAre = (count: number) => until(`${count} are in flight`, () => inFlight() === count)
  const taken = () => valkey.send('ZCARD', PLACES)
  const takenAre = (count: number) => until(`${count} places are taken`, async () => (await taken()) === count)

  /** Sends requests that last until the end of the test. */
  function askAt(server: RunningServer, count: number): Promise<Response>[] {
    return Array.from({ length: count }, async () =>
      generate(server, LONG, { headers: HEADERS, signal: leaving.signal })
    ).map((response) => {
      response.catch(() => undefined)
      return response
    })
  }

  const refusal = { statusCode: 429, code: 'CONCURRENCY_LIMITED' }

  it('have three of ten in flight, refuse the others as one gateway would, and keep no place after the end', async () => {
    let most = 0
    const watch = setInterval(() => (most = Math.max(most, inFlight())), 1)
    onTestFinished(() => clearInterval(watch))
    const refused: Response[] = []
    const all = Array.from({ length: 10 }, async (_, index) => {
      const asked = generate(gateways[index % 2]!, LONG, { headers: HEADERS, signal: leaving.signal })
      refused.push(await asked)
    })
    await until('seven are refused', () => refused.length === 7)
    expect([inFlight(), await taken()]).toEqual([MOST, MOST])
    for (const response of refused) {
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(await response.json()).toMatchObject({
        ...refusal,
        message: expect.stringContaining('team may have at most 3 requests in flight')
      })
    }
    leaving.abort()
    await Promise.allSettled(all)
    await takenAre(0)
    expect([most, await valkey.send('EXISTS', PLACES)]).toEqual([MOST, 0])
  })

  it('refuse at every route that makes images what has no place, and let a job wait for one', async () => {
    const [one, other] = gateways as [RunningServer, RunningServer]
    const ids = ['a', 'b', 'c']
    const asked = ids.map((id) =>
      generate(one, LONG, { headers: { ...HEADERS, 'x-request-id': id }, signal: leaving.signal })
    )
    for (const response of asked) response.catch(() => undefined)
    await takenAre(MOST)
    const form = new FormData()
    form.set('prompt', 'x')
    form.set('image', new Blob([new Uint8Array(await drawn({ width: 64, height: 64 }).png().toBuffer())]))
    const { authorization } = HEADERS
    const bodies: [path: string, body: string | FormData][] = [
      ['/generate', '{"prompt": "x"}'],
      ['/estimate', '{"prompt": "x"}'],
      ['/v1/images/generations', '{"prompt": "x"}'],
      ['/v1/images/edits', form],
      ['/sdapi/v1/txt2img', '{"prompt": "x"}']
    ]
    for (const [path, body] of bodies) {
      const headers = typeof body === 'string' ? HEADERS : { authorization }
      const response = await fetch(other.url + path, { method: 'POST', headers, body })
      expect([path, response.status, await response.text()]).toEqual([
        path,
        429,
        expect.stringContaining('team may have at most 3')
      ])
    }
    // Another key has places of its own.
    const others = { ...HEADERS, authorization: 'Bearer the-secret-key-of-others' }
    expect((await generate(other, { prompt: 'x', num_inference_steps: 1 }, { headers: others })).status).toBe(200)

    const job = { prompt: 'x', num_inference_steps: 2 }
    const put = await fetch(`${other.url}/jobs/waits`, { method: 'PUT', headers: HEADERS, body: JSON.stringify(job) })
    expect(put.status).toBe(202)
    const status = async () => {
      const found = await fetch(`${other.url}/jobs/waits`, { headers: { authorization } })
      return ((await found.json()) as { status: string }).status
    }
    await until('the job waits', async () => (await status()) === 'queued')
    expect(inFlight()).toBe(MOST)
    const removed = await fetch(`${one.url}/requests/a`, { method: 'DELETE', headers: { authorization } })
    expect(removed.status).toBe(204)
    await until('the job is made', async () => (await status()) === 'succeeded')
    await takenAre(MOST - 1)
  })

  it('count what waits for a first worker, before it is accepted', async () => {
    const endpoint = `ipc://${join(tmpdir(), `easel-test-${randomUUID()}.sock`)}`
    const waiting = await startServer({ ...env, WORKER: 'connect', HOLD_REQUESTS: 'true', WORKER_ENDPOINT: endpoint })
    await until('the store answers', () => waiting.jobs.store.available)
    askAt(waiting, MOST)
    await until('three are held', () => waiting.service.held === MOST)
    await takenAre(MOST)
    const [refused] = await Promise.all(askAt(gateways[0]!, 1))
    expect(await refused!.json()).toMatchObject(refusal)
    leaving.abort()
    await takenAre(0)
  })

  it('give back the place of a wrong request, and none to a client that returns to its own request', async () => {
    const [one, other] = gateways as [RunningServer, RunningServer]
    askAt(other, MOST - 1)
    await takenAre(MOST - 1)
    const wrong = await generate(
      one,
      { ...LONG, num_inference_steps: 2, negative_prompt: 'x'.repeat(4000) },
      { headers: HEADERS }
    )
    expect(wrong.status).toBe(400)
    await takenAre(MOST - 1)
    const keyed = { ...HEADERS, 'idempotency-key': 'comes-back', 'x-request-id': 'comes-back' }
    const leaves = new AbortController()
    const left = generate(one, LONG, { headers: keyed, signal: leaves.signal })
    await takenAre(MOST)
    await inFlightAre(MOST)
    leaves.abort()
    await expect(left).rejects.toThrow()
    await until('its client has left', () => one.service.clients === 0)
    const back = generate(one, LONG, { headers: keyed })
    await until('its client is back', () => one.service.clients === 1)
    expect(await taken()).toBe(MOST)
    await fetch(`${one.url}/requests/comes-back`, { method: 'DELETE', headers: keyed })
    expect((await back).status).toBe(499)
  })

  it('free the places of a gateway that is killed when its lease ends', async () => {
    const killed = startProcess('dist/main.js', [], {
      ...env,
      ENGINE: 'fake',
      WORKER_ARGS: '--sizes 64x64 --fake-step-ms 50'
    })
    const url = await readyAddress(killed)
    const lost = Array.from({ length: MOST }, () =>
      fetch(`${url}/generate`, { method: 'POST', headers: HEADERS, body: JSON.stringify(LONG) }).catch(() => undefined)
    )
    await takenAre(MOST)
    const answer = () => generate(gateways[0]!, { prompt: 'x', num_inference_steps: 1 }, { headers: HEADERS })
    expect((await answer()).status).toBe(429)
    killed.child.kill('SIGKILL')
    await Promise.all(lost)
    await until('a place is free', async () => (await answer()).status === 200)
    await takenAre(0)
  })

  it.each([
    ['stops', () => valkey.kill(), () => valkey.start()],
    ['freezes', async () => valkey.freeze(), async () => valkey.thaw()]
  ])('count each for itself while the store %s, and together when it is back', async (_, stop, resume) => {
    const [one, other] = gateways as [RunningServer, RunningServer]
    const early = askAt(one, MOST - 1)
    await inFlightAre(MOST - 1)
    await stop()
    const [full] = await Promise.all([Promise.race(askAt(one, 2)), inFlightAre(MOST)])
    expect(await full.json()).toMatchObject(refusal)
    expect(await Promise.race(askAt(other, MOST + 1).concat(early)).then((response) => response.json())).toMatchObject(
      refusal
    )
    await inFlightAre(2 * MOST)
    await resume()
    await storeAnswers()
    await takenAre(2 * MOST)
    expect(await (await Promise.race(askAt(other, 1))).json()).toMatchObject(refusal)
  })
})
