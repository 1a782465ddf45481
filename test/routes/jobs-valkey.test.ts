import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { JobDocument } from '../../src/schemas/job.js'
import { allEvents, eventsOf } from '../support/events.js'
import { generate, openServer, type RunningServer, startReadyServer } from '../support/server.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'

const INSTALL_MS = 300_000

let valkey: ValkeyServer
beforeAll(async () => {
  valkey = await startValkey()
}, INSTALL_MS)
afterAll(() => valkey.stop())

async function gateway(env: NodeJS.ProcessEnv = {}, store = valkey): Promise<RunningServer> {
  const server = await startReadyServer({ JOB_STORE: store.url, JOB_CLAIM_TIMEOUT: '2', ...env })
  await until('the job store answers', () => server.jobs.store.available)
  return server
}

const put = (server: RunningServer, id: string, body: object) =>
  fetch(`${server.url}/jobs/${id}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body)
  })
const get = (server: RunningServer, path: string, headers: Record<string, string> = {}) =>
  fetch(`${server.url}${path}`, { headers })
const jobAt = async (server: RunningServer, id: string) =>
  (await (await get(server, `/jobs/${id}`)).json()) as JobDocument

async function ended(server: RunningServer, id: string): Promise<JobDocument> {
  let found: JobDocument | undefined
  await until('the job has ended', async () => {
    found = await jobAt(server, id)
    return found.ended_at !== null
  })
  return found!
}

describe('two gateways with one job store', () => {
  it('are one service: a job of one is submitted, watched, read and cancelled at the other', async () => {
    await valkey.send('FLUSHALL')
    const [one, other] = await Promise.all([1, 2].map(() => gateway({ WORKER_ARGS: '--fake-step-ms 50' })))
    const body = { prompt: 'x', num_inference_steps: 40, guidance_scale: 1 }
    const both = await Promise.all([one!, other!].map((server) => put(server, 'a', body)))
    expect(both.map(({ status }) => status)).toEqual([202, 202])
    expect(both.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')).toHaveLength(1)
    expect((await put(other!, 'a', { ...body, prompt: 'y' })).status).toBe(409)
    // Watched at both; resumed at the other one.
    const first = await eventsOf(await get(one!, '/jobs/a/events')).next()
    const rest = await allEvents(await get(other!, '/jobs/a/events', { 'last-event-id': String(first.value!.id) }))
    expect(rest.every(({ id }) => id > first.value!.id)).toBe(true)
    expect(rest.at(-1)).toMatchObject({ event: 'succeeded' })
    const files = await Promise.all([one!, other!].map((server) => get(server, '/jobs/a/images/0')))
    const [here, there] = await Promise.all(files.map(async (file) => Buffer.from(await file.arrayBuffer())))
    expect(here).toEqual(there)
    expect([one!, other!].map(({ service }) => service.ledger.accepted).sort()).toEqual([0, 1])

    await put(one!, 'b', { ...body, num_inference_steps: 1000 })
    await until('it runs', async () => (await jobAt(other!, 'b')).status === 'running')
    for (const server of [one!, other!])
      if (server.service.ledger.inFlight === 0)
        expect((await fetch(`${server.url}/jobs/b`, { method: 'DELETE' })).status).toBe(204)
    await until('its rows are free', () => [one!, other!].every(({ service }) => service.ledger.inFlight === 0))
    expect((await jobAt(one!, 'b')).status).toBe('cancelled')
  })

  it('hand jobs over when one of them drains, and the bytes are those of the same request', async () => {
    await valkey.send('FLUSHALL')
    const { server: leaving, stop } = await openServer({
      JOB_STORE: valkey.url,
      WORKER_ARGS: '--fake-step-ms 20',
      JOB_CLAIM_TIMEOUT: '2'
    })
    await leaving.pool.firstReady
    await until('the job store answers', () => leaving.jobs.store.available)
    const body = { prompt: 'x', num_inference_steps: 100, guidance_scale: 1, seed: 3 }
    await put(leaving, 'a', body)
    await until('it runs', async () => (await jobAt(leaving, 'a')).status === 'running')
    await stop()
    const staying = await gateway()
    const job = await ended(staying, 'a')
    expect(job).toMatchObject({ status: 'succeeded', crashes: 0 })
    const now = await generate(staying, body)
    const image = await get(staying, job.result!.images[0]!.url)
    expect(Buffer.from(await image.arrayBuffer())).toEqual(Buffer.from(await now.arrayBuffer()))
  })
})

describe('without its job store', () => {
  it('a gateway says so, refuses jobs with 503 and serves other requests, from its start and later', async () => {
    const own = await startValkey()
    onTestFinished(() => own.stop())
    await own.kill()
    const server = await startReadyServer({ JOB_STORE: own.url, JOB_CLAIM_TIMEOUT: '2' })
    const health = async () => (await (await get(server, '/health')).json()) as { status: string; jobs: object }
    const refused = async (response: Response) => {
      expect(response.status).toBe(503)
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(await response.json()).toMatchObject({ code: 'JOB_STORE_UNAVAILABLE' })
    }
    expect(await health()).toMatchObject({ status: 'ready', jobs: { store: 'valkey', available: false } })
    await refused(await put(server, 'a', { prompt: 'x' }))
    await refused(await generate(server, { prompt: 'x' }, { headers: { prefer: 'respond-async' } }))
    await refused(await get(server, '/jobs/a'))
    expect((await generate(server, { prompt: 'x' })).status).toBe(200)

    await own.start()
    await until('the store answers', () => server.jobs.store.available)
    expect(await health()).toMatchObject({ status: 'ready', jobs: { available: true } })
    // A watcher stays while the store is away, and sees the end.
    const body = { prompt: 'x', num_inference_steps: 1000, guidance_scale: 1, timeout: 100 }
    await put(server, 'a', body)
    await until('it runs', async () => (await jobAt(server, 'a')).status === 'running')
    const watching = allEvents(await get(server, '/jobs/a/events'))
    await own.kill()
    await refused(await put(server, 'b', { prompt: 'x' }))
    expect((await generate(server, { prompt: 'x' })).status).toBe(200)
    await own.start()
    await until('the store answers', () => server.jobs.store.available)
    expect((await watching).at(-1)).toMatchObject({ event: 'succeeded', data: { crashes: 0 } })
    expect(server.logs.filter(({ msg }) => msg.startsWith('the job store ')).length).toBeLessThanOrEqual(6)
  })
})
