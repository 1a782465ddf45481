import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI, { toFile } from 'openai'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { openServer, type RunningServer, shareServer, startReadyServer } from '../support/server.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'

const INSTALL_MS = 300_000
const line = (id: string) =>
  JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/images/generations', body: { prompt: id } })
const clientOf = ({ url }: RunningServer, apiKey = 'none') =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })
const textFile = (text: string | Buffer, name = 'requests.jsonl') => toFile(Buffer.from(text as string), name)

function form(parts: Record<string, string | Blob>): FormData {
  const data = new FormData()
  for (const [name, value] of Object.entries(parts)) data.append(name, value)
  return data
}
const post = ({ url }: RunningServer, body: FormData | string, headers: Record<string, string> = {}) =>
  fetch(`${url}/v1/files`, { method: 'POST', body, headers })

let valkey: ValkeyServer
beforeAll(async () => {
  valkey = await startValkey()
}, INSTALL_MS)
afterAll(() => valkey.stop())

describe.each(['memory', 'Valkey'])('files, kept in %s', (where) => {
  let server: RunningServer
  let client: OpenAI
  beforeAll(async () => {
    const opened = await openServer(where === 'memory' ? {} : { JOB_STORE: valkey.url })
    server = opened.server
    await until('the job store answers', () => server.jobs.store.available)
    client = clientOf(server)
    return opened.stop
  })

  it('are sent, found, listed page by page, read and deleted by the official client', async () => {
    // More than a part, and not a multiple of one.
    const text = Array.from({ length: 9000 }, (_, index) => line(`${index}-é`)).join('\n')
    const sent = await client.files.create({
      file: await textFile(text),
      purpose: 'batch',
      expires_after: { anchor: 'created_at', seconds: 3600 }
    })
    expect(sent).toMatchObject({
      object: 'file',
      bytes: Buffer.byteLength(text),
      filename: 'requests.jsonl',
      purpose: 'batch',
      status: 'processed'
    })
    expect(sent.expires_at! - sent.created_at).toBe(3600)
    expect(await client.files.retrieve(sent.id)).toEqual(sent)
    expect(await client.files.waitForProcessing(sent.id)).toEqual(sent)
    expect(await (await client.files.content(sent.id)).text()).toBe(text)
    const others = [1, 2, 3].map(async (index) =>
      client.files.create({ file: await textFile(line('a'), `${index}.jsonl`), purpose: 'batch' })
    )
    const ids = [sent, ...(await Promise.all(others))].map(({ id }) => id)
    const listed: string[] = []
    for await (const { id } of client.files.list({ limit: 3 })) listed.push(id)
    expect(listed.toSorted()).toEqual(ids.toSorted())
    const ordered: string[] = []
    for await (const { id } of client.files.list({ limit: 2, order: 'asc' })) ordered.push(id)
    expect(ordered).toEqual(listed.toReversed())
    const page: unknown = await (await fetch(`${server.url}/v1/files?limit=3`)).json()
    expect(page).toMatchObject({ object: 'list', first_id: listed[0], last_id: listed[2], has_more: true })
    expect((await client.files.list({ purpose: 'batch_output' })).data).toEqual([])
    expect(await client.files.delete(sent.id)).toEqual({ id: sent.id, object: 'file', deleted: true })
    for (const ask of ['retrieve', 'content', 'delete'] as const)
      await expect(client.files[ask](sent.id)).rejects.toMatchObject({
        status: 404,
        code: 'NOT_FOUND',
        type: 'invalid_request_error'
      })
    for (const id of ids.slice(1)) await client.files.delete(id)
    expect((await client.files.list()).data).toEqual([])
    await until('the store is empty', async () => {
      await server.jobs.store.tend({ crashed: '', expired: '' })
      return server.jobs.store.counts.bytes === 0
    })
  })

  it('are refused with the field that is wrong, and leave nothing', async () => {
    const file = new Blob([line('a')])
    const cases: [FormData, string][] = [
      [form({ file }), 'purpose'],
      [form({ purpose: 'batch' }), 'file'],
      [form({ purpose: 'fine-tune', file }), 'purpose'],
      [form({ purpose: 'batch', file, 'expires_after[anchor]': 'now' }), 'expires_after[anchor]'],
      [form({ purpose: 'batch', file, 'expires_after[seconds]': '0' }), 'expires_after[seconds]'],
      [form({ purpose: 'batch', file, 'expires_after[seconds]': '2592001' }), 'expires_after[seconds]']
    ]
    for (const [body, param] of cases) {
      const response = await post(server, body)
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ error: { param, type: 'invalid_request_error' } })
    }
    expect(
      (await post(server, JSON.stringify({ purpose: 'batch' }), { 'content-type': 'application/json' })).status
    ).toBe(415)
    const long = await post(server, form({ purpose: 'batch', file, note: 'x'.repeat(20_000) }))
    expect(long.status).toBe(413)
    for (const path of ['files?limit=0', 'files?limit=x', 'files?order=up', 'files?after=none'])
      expect((await fetch(`${server.url}/v1/${path}`)).status).toBe(400)
    await until('nothing is left', async () => {
      await server.jobs.store.tend({ crashed: '', expired: '' })
      return server.jobs.store.counts.bytes === 0
    })
  })

  it('of a client that leaves leave nothing', async () => {
    const { hostname, port } = new URL(server.url)
    const socket = connect(Number(port), hostname)
    onTestFinished(() => void socket.destroy())
    socket.write(
      `POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n`
    )
    const bytes = async () => {
      await server.jobs.store.tend({ crashed: '', expired: '' })
      return server.jobs.store.counts.bytes
    }
    socket.write(Buffer.alloc(1_000_000, 'x'))
    await until('parts are in the store', async () => (await bytes()) > 500_000)
    expect((await client.files.list()).data).toEqual([])
    socket.destroy()
    await until('they are gone', async () => (await bytes()) === 0)
  })
})

describe('a file', () => {
  it('is bounded by JOB_BYTES, and refused with its name', async () => {
    const server = await startReadyServer({ JOB_BYTES: '1048576' })
    const large = await post(server, form({ purpose: 'batch', file: new Blob([Buffer.alloc(1_100_000)]) }))
    expect(large.status).toBe(400)
    expect(await large.json()).toMatchObject({
      error: { code: 'LIMIT_EXCEEDED', param: 'file', message: expect.stringContaining('JOB_BYTES') as string }
    })
    const half = () => post(server, form({ purpose: 'batch', file: new Blob([Buffer.alloc(600_000)]) }))
    expect((await half()).status).toBe(200)
    const full = await half()
    expect(full.status).toBe(503)
    expect(Number(full.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await full.json()).toMatchObject({ error: { code: 'JOBS_FULL', type: 'server_error' } })
    await until('what came of it is gone', () => server.jobs.store.counts.bytes < 700_000)
  })

  it('is kept for JOB_TTL at most', async () => {
    const server = await startReadyServer({ JOB_TTL: '1', JOB_CLAIM_TIMEOUT: '0.3' })
    const client = clientOf(server)
    const { id, created_at, expires_at } = await client.files.create({
      file: await textFile(line('a')),
      purpose: 'batch',
      expires_after: { anchor: 'created_at', seconds: 3600 }
    })
    expect(expires_at! - created_at).toBeLessThanOrEqual(1)
    await until('it is forgotten', async () =>
      client.files.retrieve(id).then(
        () => false,
        ({ status }: { status: number }) => status === 404
      )
    )
    expect(server.jobs.store.records.counts).toEqual({ open: 0, all: 0 })
  })

  it("is seen by its own key only, and counts in the key's requests per minute", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const [mine, theirs] = ['a-key-for-this-test-only', 'another-key-for-this-test']
    const keys = [
      { name: 'mine', key: mine, requests_per_minute: 2 },
      { name: 'theirs', key: theirs }
    ]
    await writeFile(join(folder, 'keys.json'), JSON.stringify({ keys }))
    const server = await startReadyServer({ ACCESS_KEYS: join(folder, 'keys.json') })
    const [one, other] = [clientOf(server, mine), clientOf(server, theirs)]
    const create = async () => one.files.create({ file: await textFile(line('a')), purpose: 'batch' })
    const { id } = await create()
    expect((await one.files.list()).data.map((file) => file.id)).toEqual([id])
    expect((await other.files.list()).data).toEqual([])
    for (const ask of ['retrieve', 'content', 'delete'] as const)
      await expect(other.files[ask](id)).rejects.toMatchObject({ status: 404 })
    await expect(clientOf(server, 'wrong').files.list()).rejects.toMatchObject({ status: 401 })
    await create()
    await expect(create()).rejects.toMatchObject({ status: 429, code: 'RATE_LIMITED' })
  })

  it('cannot be sent or read while the store is away', async () => {
    const own = await startValkey()
    onTestFinished(() => own.stop())
    const server = await startReadyServer({ JOB_STORE: own.url })
    await until('the job store answers', () => server.jobs.store.available)
    const client = clientOf(server)
    const { id } = await client.files.create({ file: await textFile(line('a')), purpose: 'batch' })
    await own.kill()
    const asks = [
      async () => client.files.create({ file: await textFile(line('a')), purpose: 'batch' }),
      () => client.files.list(),
      () => client.files.content(id)
    ]
    for (const ask of asks)
      await expect(ask()).rejects.toMatchObject({ status: 503, code: 'JOB_STORE_UNAVAILABLE', type: 'server_error' })
    await own.start()
    await until('it is back', () => server.jobs.store.available)
    expect(await (await client.files.content(id)).text()).toBe(line('a'))
  })
})

describe('an upload', () => {
  let server: RunningServer
  shareServer((ready) => (server = ready), { MEMORY_BUDGET: String(2 ** 26), JOB_BYTES: String(2 ** 23) })

  it('holds little memory, whatever the length of the file, and gives it back', async () => {
    const size = 7_000_000
    const chunk = Buffer.alloc(1_000_000, 'x')
    let sent = 0
    const held: number[] = []
    const usage = async () => (await (await fetch(`${server.url}/metrics`)).text()).match(/part="uploads"} (\d+)/)![1]
    const body = new ReadableStream({
      async pull(controller) {
        held.push(Number(await usage()))
        controller.enqueue(
          sent === 0
            ? Buffer.from('--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n')
            : sent <= size / chunk.length
              ? chunk
              : Buffer.from('\r\n--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n')
        )
        if (sent++ > size / chunk.length) controller.close()
      }
    })
    const response = await fetch(`${server.url}/v1/files`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'multipart/form-data; boundary=b' },
      duplex: 'half'
    } as RequestInit)
    expect(await response.json()).toMatchObject({ bytes: size })
    expect(Math.max(...held)).toBeLessThanOrEqual(600_000)
    await until('it is given back', async () => (await usage()) === '0')
  })
})
