import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { EaselError } from '../../src/errors.js'
import type { JobPicture } from '../../src/jobs/store.js'
import type { JobDocument } from '../../src/schemas/job.js'
import { allEvents, eventsOf } from '../support/events.js'
import { blackPng } from '../support/pictures.js'
import { generate, metric, type RunningServer, shareServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const ASYNC = { prefer: 'respond-async' }
const json = { 'content-type': 'application/json' }
const slow = { prompt: 'x', num_inference_steps: 1000, guidance_scale: 1 }

const put = (server: RunningServer, id: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${server.url}/jobs/${id}`, { method: 'PUT', headers: { ...json, ...headers }, body: JSON.stringify(body) })
const get = (server: RunningServer, path: string, headers: Record<string, string> = {}) =>
  fetch(`${server.url}${path}`, { headers })
const documentOf = async (response: Response) => (await response.json()) as JobDocument

async function ended(server: RunningServer, id: string, headers: Record<string, string> = {}): Promise<JobDocument> {
  let found: JobDocument | undefined
  await until('the job has ended', async () => {
    found = await documentOf(await get(server, `/jobs/${id}`, headers))
    return found.ended_at !== null
  })
  return found!
}

describe('a request that prefers a job', () => {
  let server: RunningServer
  shareServer((ready) => (server = ready), { WORKER_ARGS: '--fake-step-ms 2' })

  it('gets 202 with the place of its job, which has the bytes of the same request made at once', async () => {
    const body = { prompt: 'a red circle', seed: 7, num_images: 2, num_inference_steps: 3 }
    const response = await generate(server, body, { headers: { Prefer: 'wait=5, Respond-Async; x=1' } })
    expect(response.status).toBe(202)
    expect(response.headers.get('preference-applied')).toBe('respond-async')
    const job = await documentOf(response)
    expect(response.headers.get('location')).toBe(`/jobs/${job.id}`)
    expect(job).toMatchObject({ seed: 7, crashes: 0, error: null, links: { self: `/jobs/${job.id}` } })
    const done = await ended(server, job.id)
    expect(done).toMatchObject({ status: 'succeeded', result: { truncated: [], usage: { chunks: 1 } } })
    expect(done.result!.images.map(({ seed, url }) => [seed, url])).toEqual([
      [7, `/jobs/${job.id}/images/0`],
      [8, `/jobs/${job.id}/images/1`]
    ])
    const now = (await (await generate(server, body, { headers: { accept: 'application/json' } })).json()) as {
      images: { data: string; recipe: object }[]
    }
    for (const [index, image] of done.result!.images.entries()) {
      const file = await get(server, image.url)
      expect([file.status, file.headers.get('content-type')]).toEqual([200, 'image/png'])
      const bytes = Buffer.from(await file.arrayBuffer())
      expect(bytes.toString('base64')).toBe(now.images[index]!.data)
      expect(image).toMatchObject({
        bytes: bytes.length,
        sha256: createHash('sha256').update(bytes).digest('hex'),
        recipe: now.images[index]!.recipe
      })
      expect(file.headers.get('etag')).toBe(`"${image.sha256}"`)
    }
    expect((await get(server, `/jobs/${job.id}/images/2`)).status).toBe(404)
  })

  it('has a seed as soon as it is submitted', async () => {
    const job = await documentOf(await generate(server, { prompt: 'x' }, { headers: ASYNC }))
    const done = await ended(server, job.id)
    expect(done.result!.images[0]!.seed).toBe(job.seed)
  })

  it.each([
    ['an unknown field', { prompt: 'x', foo: 1 }, 400, 'INVALID_REQUEST'],
    ['a size that the model lacks', { prompt: 'x', width: 8, height: 8 }, 400, undefined],
    ['a prompt that is too long', { prompt: 'word '.repeat(100) }, 400, 'PROMPT_TOO_LONG'],
    ['a model that is not there', { prompt: 'x', model: 'none' }, 404, 'MODEL_NOT_FOUND']
  ])('is refused at once for %s', async (_, body, status, code) => {
    const response = await generate(server, body, { headers: ASYNC })
    expect(response.status).toBe(status)
    if (code !== undefined) expect(await response.json()).toMatchObject({ code })
  })

  it('works with pictures, in JSON and in a form', async () => {
    const picture = blackPng({ width: 64, height: 64 })
    const body = { prompt: 'x', seed: 1, strength: 0.5, num_inference_steps: 4 }
    const form = new FormData()
    for (const [name, value] of Object.entries(body)) form.set(name, String(value))
    form.set('image', new Blob([picture as Uint8Array<ArrayBuffer>], { type: 'image/png' }), 'p.png')
    const answers = [
      await generate(server, { ...body, image: picture.toString('base64') }, { headers: ASYNC }),
      await fetch(`${server.url}/generate`, { method: 'POST', headers: ASYNC, body: form })
    ]
    const now = await generate(server, { ...body, image: picture.toString('base64') })
    const bytes = Buffer.from(await now.arrayBuffer())
    for (const answer of answers) {
      expect(answer.status).toBe(202)
      const { id } = await documentOf(answer)
      const { result } = await ended(server, id)
      expect(Buffer.from(await (await get(server, result!.images[0]!.url)).arrayBuffer())).toEqual(bytes)
    }
  })

  it('waits, and does not fail, while its store does not hand out its picture', async () => {
    const { store } = server.jobs
    const [claim, giveBack] = [store.claim.bind(store), store.giveBack.bind(store)]
    onTestFinished(() => void Object.assign(store, { claim, giveBack }))
    let [asked, returned] = [0, 0]
    const read = (picture: JobPicture) => async () => {
      asked += 1
      if (asked === 1) throw new EaselError('JOB_STORE_UNAVAILABLE')
      return picture.read()
    }
    store.giveBack = async (...args) => {
      returned += 1
      if (returned === 1) throw new EaselError('JOB_STORE_UNAVAILABLE')
      return giveBack(...args)
    }
    store.claim = async (...args) => {
      const claimed = await claim(...args)
      return claimed && { ...claimed, pictures: claimed.pictures.map((each) => ({ ...each, read: read(each) })) }
    }
    const image = blackPng({ width: 64, height: 64 }).toString('base64')
    const { id } = await documentOf(await generate(server, { prompt: 'x', image }, { headers: ASYNC }))
    expect(await ended(server, id)).toMatchObject({ status: 'succeeded', crashes: 0 })
    expect([asked, returned]).toEqual([2, 2])
  })

  it('ends with the error that it would have got, where a picture is wrong', async () => {
    const answer = await generate(
      server,
      { prompt: 'x', image: Buffer.from('no picture').toString('base64') },
      { headers: ASYNC }
    )
    const { id } = await documentOf(answer)
    expect(await ended(server, id)).toMatchObject({
      status: 'failed',
      error: { statusCode: 400, code: 'INVALID_PICTURE', field: 'image' }
    })
  })

  it('is one job for one Idempotency-Key', async () => {
    const headers = { ...ASYNC, 'idempotency-key': 'the/key' }
    const first = await generate(server, { prompt: 'x' }, { headers })
    const again = await generate(server, { prompt: 'x' }, { headers })
    expect([first.status, again.status, again.headers.get('idempotent-replayed')]).toEqual([202, 202, 'true'])
    const [one, other] = [await documentOf(first), await documentOf(again)]
    expect([other.id, other.seed]).toEqual([one.id, one.seed])
    const reused = await generate(server, { prompt: 'y' }, { headers })
    expect(reused.status).toBe(422)
    expect(await reused.json()).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' })
  })

  it("is made through OpenAI's client, for images and edits", async () => {
    const client = new OpenAI({ apiKey: 'none', baseURL: `${server.url}/v1` })
    const picture = blackPng({ width: 64, height: 64 })
    const asked = [
      client.images.generate({ model: 'dall-e-3', prompt: 'x', size: '64x64' as '256x256' }, { headers: ASYNC }),
      client.images.edit(
        { image: new File([picture as Uint8Array<ArrayBuffer>], 'p.png'), prompt: 'x' },
        { headers: ASYNC }
      )
    ]
    for (const each of asked) {
      const response = await each.asResponse()
      expect([response.status, response.headers.get('preference-applied')]).toEqual([202, 'respond-async'])
      const { id } = await documentOf(response)
      expect((await ended(server, id)).status).toBe('succeeded')
    }
  })

  it('counts in the metrics', async () => {
    const before = await metric(server, 'easel_jobs_ended_total', 'succeeded')
    const { id } = await documentOf(await generate(server, { prompt: 'x' }, { headers: ASYNC }))
    await ended(server, id)
    expect(await metric(server, 'easel_jobs_ended_total', 'succeeded')).toBeGreaterThan(before)
    expect(await metric(server, 'easel_jobs', 'ended')).toBe(server.jobs.store.counts.ended)
    expect(await metric(server, 'easel_job_bytes')).toBe(await metric(server, 'easel_memory_bytes', 'jobs'))
  })
})

describe('PUT /jobs/{id}', () => {
  let server: RunningServer
  shareServer((ready) => (server = ready))

  it('submits one job, however often it is sent', async () => {
    const all = await Promise.all([1, 2, 3].map(() => put(server, 'mine', { prompt: 'x' })))
    expect(all.map(({ status }) => status)).toEqual([202, 202, 202])
    expect(all.filter(({ headers }) => headers.get('idempotent-replayed') === null)).toHaveLength(1)
    const seeds = await Promise.all(all.map(async (each) => (await documentOf(each)).seed))
    expect(new Set(seeds).size).toBe(1)
    expect((await ended(server, 'mine')).status).toBe('succeeded')
    const after = await put(server, 'mine', { prompt: 'x' })
    expect(await documentOf(after)).toMatchObject({ status: 'succeeded', seed: seeds[0] })
  })

  it('is refused with another body, and with a name that no path has', async () => {
    await put(server, 'taken', { prompt: 'x', seed: 1 })
    const other = await put(server, 'taken', { prompt: 'x', seed: 2 })
    expect(other.status).toBe(409)
    expect(await other.json()).toMatchObject({ code: 'JOB_EXISTS', field: 'id' })
    for (const id of ['a b', 'ä', 'x'.repeat(129), '%00'])
      expect((await put(server, encodeURI(id), { prompt: 'x' })).status, id).toBe(400)
  })
})

describe('GET /jobs/{id}/events', () => {
  it('tells each change, and resumes after Last-Event-ID', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 100' })
    await put(server, 'a', { prompt: 'x', num_inference_steps: 25, guidance_scale: 1 })
    const events = await allEvents(await get(server, '/jobs/a/events'))
    expect(events.at(-1)).toMatchObject({ event: 'succeeded', data: { id: 'a', status: 'succeeded' } })
    const ids = events.map(({ id }) => id)
    expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b))
    const running = events.filter(({ event }) => event === 'running')
    expect(running.some(({ data }) => ((data['progress'] as { step: number } | null)?.step ?? 0) > 0)).toBe(true)
    const rest = await allEvents(await get(server, '/jobs/a/events', { 'last-event-id': String(ids.at(-2)) }))
    expect(rest.map(({ id }) => id)).toEqual([ids.at(-1)])
    expect(await allEvents(await get(server, '/jobs/a/events', { 'last-event-id': String(ids.at(-1)) }))).toEqual([])
    expect((await get(server, '/jobs/none/events')).status).toBe(404)
  })

  it('holds memory for a watcher only while it watches', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    await put(server, 'a', slow)
    const leaving = new AbortController()
    const response = await fetch(`${server.url}/jobs/a/events`, { signal: leaving.signal })
    const events = eventsOf(response)
    expect((await events.next()).value).toMatchObject({ data: { id: 'a' } })
    await until('the job runs', async () => (await documentOf(await get(server, '/jobs/a'))).status === 'running')
    const held = await metric(server, 'easel_memory_bytes', 'answers')
    leaving.abort()
    await until(
      'its memory is free',
      async () => (await metric(server, 'easel_memory_bytes', 'answers')) === held - 128 * 1024
    )
    await events.return(undefined).catch(() => undefined)
  })
})

describe('DELETE /jobs/{id}', () => {
  it('cancels a job that runs or waits, and frees its rows; deletes one that has ended', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--rows 1 --fake-step-ms 10' })
    const ids = ['1', '2', '3', '4', '5', '6', '7', '8']
    for (const id of ids) await put(server, id, slow)
    const remove = (id: string) => fetch(`${server.url}/jobs/${id}`, { method: 'DELETE' })
    await until('one runs', async () => (await documentOf(await get(server, '/jobs/1'))).status === 'running')
    for (const id of ids.toReversed()) expect((await remove(id)).status).toBe(204)
    for (const id of ids)
      expect(await documentOf(await get(server, `/jobs/${id}`))).toMatchObject({
        status: 'cancelled',
        error: { statusCode: 499, code: 'CANCELLED' }
      })
    await until('nothing runs any more', () => server.service.ledger.inFlight === 0)
    await put(server, 'after', { ...slow, num_inference_steps: 1 })
    expect((await ended(server, 'after')).status).toBe('succeeded')
    for (const id of ['1', 'after']) {
      expect((await remove(id)).status).toBe(204)
      expect((await get(server, `/jobs/${id}`)).status).toBe(404)
      expect((await remove(id)).status).toBe(404)
    }
  })
})

describe('jobs at their bounds', () => {
  it('expire at their deadline', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20', JOB_CLAIM_TIMEOUT: '0.6' })
    await put(server, 'body', { ...slow, timeout: 0.5 })
    await put(server, 'header', slow, { 'x-request-timeout': '0.5' })
    for (const id of ['body', 'header']) {
      const { status, error } = await ended(server, id)
      expect(status).toBe('expired')
      // Once a step has been measured, it is known before it begins.
      expect(error!.code).toMatch(/^DEADLINE_(EXCEEDED|UNREACHABLE)$/)
    }
  })

  it('are refused with 503 when the store is full, and taken again when one is deleted', async () => {
    const server = await startReadyServer({ JOB_LIMIT: '1' })
    await put(server, 'a', { prompt: 'x' })
    await ended(server, 'a')
    const full = await put(server, 'b', { prompt: 'x' })
    expect([full.status, Number(full.headers.get('retry-after')) > 0]).toEqual([503, true])
    expect(await full.json()).toMatchObject({ code: 'JOBS_FULL' })
    // Others are served.
    expect((await generate(server, { prompt: 'x' })).status).toBe(200)
    await fetch(`${server.url}/jobs/a`, { method: 'DELETE' })
    expect((await put(server, 'b', { prompt: 'x' })).status).toBe(202)
  })

  it('are forgotten JOB_TTL after their end', async () => {
    const server = await startReadyServer({ JOB_TTL: '0.05', JOB_CLAIM_TIMEOUT: '0.3' })
    await put(server, 'a', { prompt: 'x' })
    await until('it is gone', async () => (await get(server, '/jobs/a')).status === 404)
    expect(server.jobs.store.counts).toEqual({ queued: 0, running: 0, ended: 0, bytes: 0 })
  })

  it('wait for a worker, and survive its death', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    await put(server, 'a', { prompt: 'x', num_inference_steps: 60, seed: 1 })
    await until('it runs', async () => (await documentOf(await get(server, '/jobs/a'))).status === 'running')
    process.kill(server.pool.workerPids[0]!, 'SIGKILL')
    await until('no worker is ready', () => server.service.status.status !== 'ready')
    const later = await put(server, 'b', { prompt: 'x', num_inference_steps: 60, seed: 1 })
    expect(later.status).toBe(202)
    const all = [await ended(server, 'a'), await ended(server, 'b')]
    expect(all.map(({ status }) => status)).toEqual(['succeeded', 'succeeded'])
    expect(all[0]!.result!.images[0]!.sha256).toBe(all[1]!.result!.images[0]!.sha256)
  })
})

describe('jobs with access keys', () => {
  const KEYS = [
    { name: 'a', key: 'the-secret-of-team-a' },
    { name: 'b', key: 'the-secret-of-team-b', concurrent_requests: 1 },
    { name: 'c', key: 'the-secret-of-team-c', batch_only: true, requests_per_minute: 1 }
  ]
  const headersOf = (index: number): Record<string, string> => ({ authorization: `Bearer ${KEYS[index]!.key}` })
  const [a, b, c] = [headersOf(0), headersOf(1), headersOf(2)]

  async function start(env: NodeJS.ProcessEnv = {}): Promise<RunningServer> {
    const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    await writeFile(join(folder, 'keys.json'), JSON.stringify({ keys: KEYS }))
    return startReadyServer({ ACCESS_KEYS: join(folder, 'keys.json'), ...env })
  }

  it('are seen by their own key only', async () => {
    const server = await start()
    expect((await put(server, 'x', { prompt: 'x' })).status).toBe(401)
    await put(server, 'x', { prompt: 'x', seed: 1 }, a)
    await ended(server, 'x', a)
    for (const path of ['/jobs/x', '/jobs/x/events', '/jobs/x/images/0']) {
      expect((await get(server, path)).status, path).toBe(401)
      expect((await get(server, path, b)).status, path).toBe(404)
      expect((await get(server, path, a)).status, path).toBe(200)
    }
    expect((await fetch(`${server.url}/jobs/x`, { method: 'DELETE', headers: b })).status).toBe(404)
    // The same name of another key is another job.
    expect((await put(server, 'x', { prompt: 'y' }, b)).status).toBe(202)
    expect((await ended(server, 'x', a)).seed).toBe(1)
  })

  it('keep to their limits', async () => {
    const server = await start({ WORKER_ARGS: '--fake-step-ms 10' })
    for (const id of ['1', '2', '3']) await put(server, id, { prompt: 'x', num_inference_steps: 30 }, b)
    let most = 0
    await until('all have ended', async () => {
      const all = await Promise.all(['1', '2', '3'].map(async (id) => documentOf(await get(server, `/jobs/${id}`, b))))
      most = Math.max(most, server.service.ledger.inFlight)
      return all.every(({ status }) => status === 'succeeded')
    })
    expect(most).toBe(1)
    expect((await put(server, '1', { prompt: 'x', priority: 'interactive' }, c)).status).toBe(400)
    expect((await put(server, '1', { prompt: 'x' }, c)).status).toBe(429)
  })
})
