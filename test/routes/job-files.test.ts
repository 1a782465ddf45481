import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import type { JobDocument } from '../../src/schemas/job.js'
import { freePort } from '../../tools/ports.mjs'
import { shareBucket } from '../results/buckets.js'
import { generate, metric, openServer, type RunningServer, startReadyServer } from '../support/server.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'

const INSTALL_MS = 300_000
const BODY = { prompt: 'a lighthouse', seed: 7, num_images: 2, num_inference_steps: 2 }

function folderForTest(): string {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The files of a folder, without its identity. */
const filesIn = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())

const put = (server: RunningServer, id: string, body: object = BODY, headers: Record<string, string> = {}) =>
  fetch(`${server.url}/jobs/${id}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body)
  })
const remove = (server: RunningServer, id: string) => fetch(`${server.url}/jobs/${id}`, { method: 'DELETE' })
const jobAt = async (server: RunningServer, id: string) =>
  (await (await fetch(`${server.url}/jobs/${id}`)).json()) as JobDocument

async function ended(server: RunningServer, id: string): Promise<JobDocument> {
  let found: JobDocument | undefined
  await until('the job has ended', async () => {
    found = await jobAt(server, id)
    return found.ended_at !== null
  })
  return found!
}

async function bytesOf(url: string): Promise<Buffer> {
  const answer = await fetch(url)
  expect(answer.status, url).toBe(200)
  return Buffer.from(await answer.arrayBuffer())
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

describe.each(['file', 's3', 'gs'] as const)('a job with RESULTS in %s', (kind) => {
  let location: string
  if (kind !== 'file')
    shareBucket(kind, (given) => {
      location = given
    })

  it('has its images there, signed URLs and its own links for them, and deletes them when it is forgotten', async () => {
    const server = await startReadyServer({ RESULTS: kind === 'file' ? `file://${folderForTest()}` : location })
    await put(server, 'mine')
    const { result } = await ended(server, 'mine')
    const now = await generate(server, { ...BODY, num_images: 1, seed: 8 })
    const second = Buffer.from(await now.arrayBuffer())
    for (const { url, signed_url, sha256: hash, bytes, index } of result!.images) {
      expect(url).toBe(`/jobs/mine/images/${index}`)
      const own = await fetch(server.url + url)
      expect([own.status, own.headers.get('content-type'), own.headers.get('etag')]).toEqual([
        200,
        'image/png',
        `"${hash}"`
      ])
      const file = Buffer.from(await own.arrayBuffer())
      expect([file.length, sha256(file)]).toEqual([bytes, hash])
      expect((await bytesOf(signed_url!)).equals(file)).toBe(true)
      expect(new URL(signed_url!).pathname).toMatch(/\/~\/mine(~|%7E)[0-9a-f-]{36}\/[01]\.png$/)
      if (index === 1) expect(file.equals(second)).toBe(true)
    }
    // The store has the record alone.
    expect(await server.jobs.store.images.read({ scope: '', id: 'mine' }, 0)).toBeUndefined()
    const others = result!.images.reduce((sum, { bytes }) => sum + bytes, 0)
    expect(server.jobs.store.counts.bytes).toBeLessThan(others)
    expect((await remove(server, 'mine')).status).toBe(204)
    for (const { signed_url } of result!.images)
      await until('its file is gone', async () => (await fetch(signed_url!)).status === 404)
    await until('that is counted', async () => (await metric(server, 'easel_results_deleted_total', 'deleted')) === 2)
    expect(server.logs.filter(({ level }) => level >= 50)).toEqual([])
  })
})

it('keeps jobs of any name inside the folder and apart, also on a disk that takes A for a', async () => {
  const folder = folderForTest()
  const server = await startReadyServer({ RESULTS: `file://${folder}/files`, PUBLIC_URL: 'https://images.example.com' })
  const body = JSON.stringify({ prompt: 'x', num_inference_steps: 1 })
  const ids = ['..', '.', '~', 'A', 'a', '~identity', 'x'.repeat(128)]
  // As a client sends it that does not tidy paths up.
  const raw = async (method: string, path: string) => {
    const sent = request(server.url, { method, path, headers: { 'content-type': 'application/json' } })
    sent.end(method === 'PUT' ? body : undefined)
    const [answer] = (await once(sent, 'response')) as [import('node:http').IncomingMessage]
    const pieces: Buffer[] = []
    for await (const piece of answer) pieces.push(piece as Buffer)
    return { status: answer.statusCode, text: Buffer.concat(pieces).toString() }
  }
  for (const id of ids) expect((await raw('PUT', `/jobs/${id}`)).status, id).toBe(202)
  for (const id of ids)
    await until(`${id} has succeeded`, async () => {
      const job = JSON.parse((await raw('GET', `/jobs/${id}`)).text) as JobDocument
      if (job.status !== 'succeeded') return false
      const { signed_url } = job.result!.images[0]!
      expect(signed_url).toMatch(/^https:\/\/images\.example\.com\/results\/~\//)
      return (await raw('GET', signed_url!.replace('https://images.example.com', ''))).status === 200
    })
  expect(readdirSync(folder)).toEqual(['files'])
  const names = filesIn(join(folder, 'files')).map(({ parentPath }) => parentPath.toLowerCase())
  expect(new Set(names).size).toBe(ids.length)
})

it('shows nobody an image that came later under the name of a job', async () => {
  const folder = folderForTest()
  const server = await startReadyServer({ RESULTS: `file://${folder}` })
  await put(server, 'again', { ...BODY, prompt: 'one' })
  const first = (await ended(server, 'again')).result!.images[0]!.signed_url!
  await remove(server, 'again')
  await put(server, 'again', { ...BODY, prompt: 'another' })
  const second = (await ended(server, 'again')).result!.images[0]!.signed_url!
  expect(new URL(first).pathname).not.toBe(new URL(second).pathname)
  await until('the first one is gone', async () => (await fetch(first)).status === 404)
  expect((await fetch(second)).status).toBe(200)
})

it('waits for room in a full folder until its deadline, and serves other requests meanwhile', async () => {
  const folder = folderForTest()
  const server = await startReadyServer({
    RESULTS: `file://${folder}`,
    RESULTS_DISK: '1024',
    JOB_CLAIM_TIMEOUT: '0.6'
  })
  await put(server, 'a', { ...BODY, timeout: 3 })
  await until('it is made', async () => (await metric(server, 'easel_results_total', 'outcome="failed"')) > 1)
  expect((await jobAt(server, 'a')).status).toBe('running')
  // No further images come into memory that nobody takes.
  await put(server, 'b', { ...BODY, timeout: 1 })
  expect((await generate(server, BODY)).status).toBe(200)
  expect(await ended(server, 'b')).toMatchObject({ status: 'expired', started_at: null })
  expect(await ended(server, 'a')).toMatchObject({ status: 'expired', crashes: 0 })
  await until('it is let go', () => server.service.ledger.inFlight === 0)
  expect(await metric(server, 'easel_requests_accepted_total')).toBe(2)
  expect(filesIn(folder)).toEqual([])
  // Each second, but said once.
  expect(server.logs.filter(({ msg }) => msg.includes('could not be stored in RESULTS'))).toHaveLength(1)
})

describe('gateways with one job store and one RESULTS', () => {
  let valkey: ValkeyServer
  beforeAll(async () => {
    valkey = await startValkey()
  }, INSTALL_MS)
  afterAll(() => valkey.stop())
  let bucket: string
  shareBucket('s3', (given) => {
    bucket = given
  })

  const common = () => ({ JOB_STORE: valkey.url, JOB_CLAIM_TIMEOUT: '2' })
  const answering = (server: RunningServer) => until('the job store answers', () => server.jobs.store.available)
  async function gateway(env: NodeJS.ProcessEnv): Promise<RunningServer> {
    const server = await startReadyServer({ ...common(), ...env })
    await answering(server)
    return server
  }

  it('read, link and delete the images of each other', async () => {
    await valkey.send('FLUSHALL')
    const folder = folderForTest()
    const env = { RESULTS: `file://${folder}`, RESULTS_SECRET: 'x'.repeat(32) }
    const [one, other] = await Promise.all([gateway(env), gateway({ ...env, JOB_TTL: '3' })])
    for (const id of ['a', 'b']) await put(one!, id)
    for (const id of ['a', 'b']) {
      const there = await Promise.all([one!, other!].map((server) => ended(server, id)))
      for (const [index, server] of [one!, other!].entries()) {
        const { url, signed_url, sha256: hash } = there[1 - index]!.result!.images[1]!
        expect(sha256(await bytesOf(server.url + url))).toBe(hash)
        expect(sha256(await bytesOf(server.url + new URL(signed_url!).pathname + new URL(signed_url!).search))).toBe(
          hash
        )
      }
    }
    expect(await valkey.send('KEYS', 'easel:{jobs}:out:*')).toEqual([])
    expect(filesIn(folder)).toHaveLength(4)
    expect((await remove(other!, 'a')).status).toBe(204)
    await until('its files are gone', () => filesIn(folder).length === 2)
    // And those of a job that nobody deletes, after JOB_TTL.
    await until('all files are gone', () => filesIn(folder).length === 0)
    await until('nothing is left', async () => ((await valkey.send('KEYS', '*left*')) as string[]).length === 0)
  })

  it('end a job when the bucket is back, without making it again, also where a gateway drained meanwhile', async () => {
    await valkey.send('FLUSHALL')
    const endpoint = new URL(bucket.slice(bucket.indexOf('endpoint=') + 'endpoint='.length).split('&')[0]!)
    const port = await freePort()
    const env = { ...common(), RESULTS: bucket.replace(endpoint.origin, `http://127.0.0.1:${port}`) }
    const { server: leaving, stop } = await openServer(env)
    await leaving.pool.firstReady
    await answering(leaving)
    await put(leaving, 'a')
    await until('it cannot be stored', async () => (await metric(leaving, 'easel_results_total', 'failed')) > 0)
    await stop()
    expect(await valkey.send('HMGET', 'easel:{jobs}:job:/a', 'st', 'cr')).toEqual(['queued', '0'])
    const staying = await gateway(env)
    await until('it cannot be stored', async () => (await metric(staying, 'easel_results_total', 'failed')) > 1)
    const front = createServer((socket) => {
      const to = connect(Number(endpoint.port), endpoint.hostname)
      for (const each of [socket, to]) each.on('error', () => undefined)
      socket.pipe(to).pipe(socket)
      onTestFinished(() => void socket.destroy())
    })
    front.listen(port, '127.0.0.1')
    onTestFinished(() => void front.close())
    const job = await ended(staying, 'a')
    expect(job).toMatchObject({ status: 'succeeded', crashes: 0 })
    expect(await metric(staying, 'easel_requests_accepted_total')).toBe(1)
    for (const { url, signed_url, sha256: hash } of job.result!.images) {
      expect(sha256(await bytesOf(staying.url + url))).toBe(hash)
      expect(sha256(await bytesOf(signed_url!))).toBe(hash)
    }
  })

  it('show a job whose files a rule of the bucket deleted, without its images', async () => {
    await valkey.send('FLUSHALL')
    const one = await gateway({ RESULTS: bucket })
    await put(one, 'a')
    await ended(one, 'a')
    const { DeleteObjectCommand, ListObjectsV2Command, S3Client } = await import('@aws-sdk/client-s3')
    const client = new S3Client({ endpoint: /endpoint=([^&]*)/.exec(bucket)![1]!, forcePathStyle: true })
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: 'images', Prefix: 'easel/~/a~' }))
    for (const { Key } of Contents) await client.send(new DeleteObjectCommand({ Bucket: 'images', Key }))
    client.destroy()
    const gone = await fetch(`${one.url}/jobs/a/images/0`)
    expect([gone.status, await gone.json()]).toEqual([404, expect.objectContaining({ code: 'NOT_FOUND' })])
    expect((await jobAt(one, 'a')).status).toBe('succeeded')
  })

  it('say so where their RESULTS differ', async () => {
    await valkey.send('FLUSHALL')
    const one = await gateway({ RESULTS: `file://${folderForTest()}` })
    await put(one, 'a')
    await ended(one, 'a')
    for (const env of [{ RESULTS: `file://${folderForTest()}` }, {}]) {
      const other = await gateway(env)
      const job = await jobAt(other, 'a')
      expect([job.status, job.result!.images[0]!.signed_url]).toEqual(['succeeded', undefined])
      const answer = await fetch(other.url + job.result!.images[0]!.url)
      expect([answer.status, await answer.json()]).toEqual([
        503,
        expect.objectContaining({ code: 'RESULTS_UNAVAILABLE', message: expect.stringContaining('same RESULTS') })
      ])
      expect(other.logs.filter(({ msg }) => msg.startsWith('the gateway that came'))).toHaveLength(1)
    }
  })

  it('make jobs that were submitted without RESULTS, and read those made then', async () => {
    await valkey.send('FLUSHALL')
    const { server: before, stop } = await openServer(common())
    await before.pool.firstReady
    await answering(before)
    await put(before, 'made')
    await ended(before, 'made')
    await put(before, 'waits', { ...BODY, model: undefined, num_inference_steps: 1000 })
    await stop()
    const after = await gateway({ RESULTS: `file://${folderForTest()}` })
    const [made, waited] = [await jobAt(after, 'made'), await ended(after, 'waits')]
    expect([made, waited].map(({ result }) => result!.images[0]!.signed_url !== undefined)).toEqual([false, true])
    for (const { result } of [made, waited])
      expect(sha256(await bytesOf(after.url + result!.images[0]!.url))).toBe(result!.images[0]!.sha256)
    expect(Number(await valkey.send('HLEN', 'easel:{jobs}:out:/waits'))).toBe(0)
  })
})

describe('how long jobs and their files are kept', () => {
  const options = (env: NodeJS.ProcessEnv) => loadOptions([], env)

  it('refuses to keep a job for longer than its files', () => {
    const env = { RESULTS: 'file:///x', RESULTS_KEEP: '4000', JOB_TTL: '4001' }
    expect(() => options(env)).toThrow(/^RESULTS_KEEP=4000 must be at least JOB_TTL=4001/)
    expect(options({ ...env, RESULTS: 's3://bucket' }).jobTtl).toBe(4001)
    expect(options({ ...env, JOB_TTL: '4000' }).jobTtl).toBe(4000)
  })

  it('is a day, or RESULTS_KEEP', () => {
    expect(options({ RESULTS: 'file:///x', RESULTS_KEEP: '4000' }).jobTtl).toBe(4000)
    expect(options({ RESULTS: 'file:///x', RESULTS_KEEP: '400000' }).jobTtl).toBe(86_400)
    expect(options({ RESULTS_KEEP: '4000' }).jobTtl).toBe(86_400)
  })
})
