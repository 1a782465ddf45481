import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { MAX_FILE_BYTES } from '../../src/routes/recipe.js'
import { pngWith } from '../support/image-files.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, metric, type RunningServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const MIB = 2 ** 20

/**
 * Eight images of 1024x1024 as JSON: 25 MB of pixels, 11 MB of files, more than kernel buffers take of an unread
 * answer.
 */
const large = {
  prompt: 'x',
  width: 1024,
  height: 1024,
  num_images: 8,
  num_inference_steps: 1,
  guidance_scale: 1,
  seed: 1
}
const LARGE = { WORKER_ARGS: '--sizes 1024x1024,64x64 --rows 16' }

/** Requests images as JSON and reads nothing of the answer. Returns a function that disconnects the client. */
function askUnread(server: RunningServer, body: object, headers: http.OutgoingHttpHeaders = {}): () => void {
  const request = http.request(`${server.url}/generate`, {
    method: 'POST',
    agent: false,
    headers: { 'content-type': 'application/json', accept: 'application/json', ...headers }
  })
  request.on('response', (response) => response.pause().on('error', () => undefined))
  request.on('error', () => undefined)
  request.end(JSON.stringify(body))
  const leave = () => void request.destroy()
  onTestFinished(leave)
  return leave
}

const used = (server: RunningServer, part: string) => metric(server, 'easel_memory_bytes', `part="${part}"`)

/** Sends the head of a request and the given part of its body. */
function upload(
  server: RunningServer,
  path: string,
  head: readonly string[],
  body: Buffer
): { socket: net.Socket; answer: () => string } {
  const { port, hostname } = new URL(server.url)
  const socket = net.connect(Number(port), hostname)
  let answer = ''
  socket.on('data', (chunk) => (answer += chunk)).on('error', () => undefined)
  socket.write([`POST ${path} HTTP/1.1`, 'Host: x', ...head, '', ''].join('\r\n'))
  socket.write(body)
  onTestFinished(() => void socket.destroy())
  return { socket, answer: () => answer }
}

describe('unread answers', () => {
  it('count until they are read or the client disconnects, and cause 503 when memory is full', async () => {
    const server = await startReadyServer({ ...LARGE, MEMORY_BUDGET: String(64 * MIB), SEND_TIMEOUT: '60' })
    const leave = [1, 2].map(() => askUnread(server, large))
    await until(
      'both answers wait for their reader',
      async () => server.service.ledger.inFlight === 0 && server.service.ledger.ended.succeeded === 2
    )
    expect(await metric(server, 'easel_clients')).toBe(2)
    expect(await used(server, 'pixels')).toBe(0)
    expect(await used(server, 'answers')).toBeGreaterThan(15 * MIB)
    const refused = await generate(server, large)
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refused.json()).toMatchObject({ code: 'MEMORY_FULL' })
    // A small request is still accepted.
    expect((await generate(server, { prompt: 'x', width: 64, height: 64 })).status).toBe(200)
    for (const each of leave) each()
    await until('no answer is held', async () => (await used(server, 'answers')) === 0)
    expect((await generate(server, large)).status).toBe(200)
  })

  it('are dropped after SEND_TIMEOUT', async () => {
    const server = await startReadyServer({ ...LARGE, SEND_TIMEOUT: '0.2' })
    askUnread(server, large)
    await until('the slow reader is disconnected', async () => (await metric(server, 'easel_slow_readers_total')) === 1)
    await until('no answer is held', async () => (await used(server, 'answers')) === 0)
    expect(server.service.ledger.ended.succeeded).toBe(1)
  })

  it("count towards their key's concurrency limit", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const [path, key] = [join(folder, 'keys.json'), 'a-key-of-one-at-a-time']
    await writeFile(path, JSON.stringify({ keys: [{ name: 'one', key, concurrent_requests: 1 }] }))
    const server = await startReadyServer({ ...LARGE, ACCESS_KEYS: path, SEND_TIMEOUT: '60' })
    const headers = { authorization: `Bearer ${key}` }
    const leave = askUnread(server, large, { ...headers, 'idempotency-key': 'k' })
    await until('the image is made', () => server.service.ledger.ended.succeeded === 1)
    for (const more of [{}, { 'idempotency-key': 'k' }]) {
      const second = await generate(server, large, { headers: { ...headers, ...more, accept: 'application/json' } })
      expect(await second.json()).toMatchObject({ statusCode: 429, code: 'CONCURRENCY_LIMITED' })
    }
    leave()
    await until('the client has disconnected', () => server.service.clients === 0)
    expect(
      (await generate(server, large, { headers: { ...headers, 'idempotency-key': 'k' } })).headers.get(
        'idempotent-replayed'
      )
    ).toBe('true')
  })

  it('block the replay of a kept answer while they fill the memory', async () => {
    const server = await startReadyServer({ ...LARGE, MEMORY_BUDGET: String(96 * MIB), SEND_TIMEOUT: '60' })
    const key = { 'idempotency-key': 'k', accept: 'application/json' }
    const replay = () => generate(server, large, { headers: key })
    await (await replay()).arrayBuffer()
    // 56 MB of 63 MB for images.
    const leave = []
    for (const [index, num_images] of [8, 8, 8, 8, 3, 3].entries()) {
      leave.push(askUnread(server, { ...large, num_images }))
      await until('the answer waits for its reader', () => server.service.ledger.ended.succeeded === index + 2)
    }
    const refused = await replay()
    expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([503, true])
    expect(await refused.json()).toMatchObject({ code: 'MEMORY_FULL' })
    for (const each of leave) each()
    await until('the clients have disconnected', () => server.service.clients === 0)
    expect((await replay()).headers.get('idempotent-replayed')).toBe('true')
  })

  it('share their bytes under the same idempotency key', async () => {
    const server = await startReadyServer({ ...LARGE, SEND_TIMEOUT: '60' })
    const key = { 'idempotency-key': 'k' }
    await (await generate(server, large, { headers: { ...key, accept: 'application/json' } })).arrayBuffer()
    await until(
      'the answer is stored for replays',
      async () => (await used(server, 'replays')) > 0 && (await used(server, 'answers')) === 0
    )
    const kept = await used(server, 'replays')
    for (let client = 0; client < 20; client++) askUnread(server, large, key)
    await until('all clients have their answer', () => server.service.clients === 20)
    expect(await used(server, 'answers')).toBeLessThan(kept + (20 * MIB) / 4)
    expect(await used(server, 'replays')).toBe(0)
  })
})

describe('images in progress', () => {
  it('go to the worker only while memory for their pixels is free, and all finish', async () => {
    // 10 MiB for pixels: room for three requests of 3 MiB.
    const server = await startReadyServer({
      MEMORY_BUDGET: String(16 * MIB),
      WORKER_ARGS: '--sizes 1024x1024 --rows 32'
    })
    const worker = new ScriptedWorker(server.endpoint, 'scripted', server.pool.state.workers[0]!.hello)
    await worker.hello()
    await until('two workers are connected', () => server.pool.state.workers.length === 2)
    process.kill(server.pool.workerPids[0]!, 'SIGSTOP')
    onTestFinished(() => void process.kill(server.pool.workerPids[0]!, 'SIGCONT'))
    const all = Array.from({ length: 8 }, (_, seed) => generate(server, { ...large, num_images: 1, seed }))
    await until('eight requests are accepted', () => server.service.ledger.accepted === 8)
    expect(server.pool.state.queued).toBe(5)
    expect(await used(server, 'pixels')).toBe(3 * 3 * MIB)
    process.kill(server.pool.workerPids[0]!, 'SIGCONT')
    const finishing = setInterval(() => void worker.finish(), 5)
    onTestFinished(() => clearInterval(finishing))
    for (const response of await Promise.all(all)) expect(response.status).toBe(200)
  })

  it('are refused if they could never fit in memory', async () => {
    const server = await startReadyServer({ MEMORY_BUDGET: String(16 * MIB), WORKER_ARGS: '--sizes 1024x1024' })
    const response = await generate(server, large)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      code: 'LIMIT_EXCEEDED',
      field: 'num_images',
      message: expect.stringContaining('at most 3 at 1024x1024')
    })
  })
})

describe('request bodies', () => {
  it('are limited in total, but small ones are always accepted', async () => {
    // 2 MiB for bodies: 32 bodies of maximum length.
    const server = await startReadyServer({ MEMORY_BUDGET: String(16 * MIB), BODY_LIMIT: '65536' })
    const json = ['Content-Type: application/json']
    const slow = Array.from({ length: 32 }, (_, index) =>
      upload(
        server,
        '/tokenize',
        [...json, index % 2 === 0 ? 'Content-Length: 65536' : 'Transfer-Encoding: chunked'],
        Buffer.from('1\r\n{')
      )
    )
    await until('both uploads count', async () => (await used(server, 'uploads')) === 2 * MIB)
    const more = upload(server, '/tokenize', [...json, 'Content-Length: 65536'], Buffer.alloc(100))
    await until('the request is answered', () => more.answer().includes('MEMORY_FULL'))
    expect(more.answer()).toMatch(/^HTTP\/1\.1 503 [^]*\r\nretry-after: \d+/i)
    expect((await generate(server, { prompt: 'x' })).status).toBe(200)
    for (const { socket } of slow) socket.destroy()
    await until('no upload is held', async () => (await used(server, 'uploads')) === 0)
  })

  it('that may have pictures count as they arrive, besides the pictures', async () => {
    const server = await startReadyServer({ MEMORY_BUDGET: String(16 * MIB), BODY_LIMIT: String(MIB) })
    const head = ['Content-Type: application/json', `Content-Length: ${3 * MIB}`]
    const slow = Array.from({ length: 3 }, () => upload(server, '/generate', head, Buffer.from('{"prompt":"')))
    await until('all uploads count', async () => (await used(server, 'uploads')) === 3 * 4096)
    const picture = upload(server, '/generate', head, Buffer.from(`{"image":"${'A'.repeat(2.5 * MIB)}`))
    await until(
      'the picture is on the disk',
      async () => (await metric(server, 'easel_picture_disk_bytes')) > 1.8 * MIB
    )
    expect(await used(server, 'uploads')).toBeLessThan(5 * 4096)
    for (const { socket } of slow.slice(0, 2)) socket.write('x'.repeat(0.9 * MIB))
    await until('their texts count', async () => (await used(server, 'uploads')) > 1.8 * MIB)
    slow[2]!.socket.write('x'.repeat(0.9 * MIB))
    await until('the third is refused', () => slow[2]!.answer().includes('MEMORY_FULL'))
    expect(slow[2]!.answer()).toMatch(/^HTTP\/1.1 503 [^]*\r\nretry-after: \d+/i)
    for (const { socket } of [...slow, picture]) socket.destroy()
    await until(
      'nothing is held',
      async () => (await used(server, 'uploads')) + (await metric(server, 'easel_picture_files')) === 0
    )
  })

  it('without a declared length count as the maximum only until they are read', async () => {
    const server = await startReadyServer({
      MEMORY_BUDGET: String(16 * MIB),
      BODY_LIMIT: '65536',
      WORKER_ARGS: '--fake-step-ms 10'
    })
    // Twice as many as would fit at the maximum length.
    const json = '{"prompt":"x","num_inference_steps":1000}'
    const chunked = Buffer.from(`${json.length.toString(16)}\r\n${json}\r\n0\r\n\r\n`)
    const clients = Array.from({ length: 60 }, () =>
      upload(server, '/generate', ['Content-Type: application/json', 'Transfer-Encoding: chunked'], chunked)
    )
    await until('all requests are accepted', () => server.service.ledger.accepted === clients.length)
    expect(await used(server, 'uploads')).toBe(clients.length * json.length)
    for (const { socket } of clients) socket.destroy()
    await until('no upload is held', async () => (await used(server, 'uploads')) === 0)
  })

  it('with files are not held in memory', async () => {
    const server = await startReadyServer({ MEMORY_BUDGET: String(32 * MIB) })
    const file = Buffer.concat([pngWith(), Buffer.alloc(60 * MIB)])
    const before = process.memoryUsage().arrayBuffers
    const slow = Array.from({ length: 8 }, () =>
      upload(server, '/recipe', ['Content-Type: image/png', `Content-Length: ${MAX_FILE_BYTES}`], file)
    )
    await until(
      'all clients have sent their bytes',
      () => slow.every(({ socket }) => socket.bytesWritten > file.length && socket.writableLength === 0),
      60_000
    )
    expect(await used(server, 'uploads')).toBeLessThanOrEqual(8 * 512 * 1024)
    // Chunks awaiting garbage collection never reach half of what was sent.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(240 * MIB)
  })
})

describe('clients of one request', () => {
  it('are refused with 429 above 32', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const controller = new AbortController()
    const first = generate(
      server,
      { prompt: 'x', num_inference_steps: 1000 },
      { headers: { 'x-request-id': 'watched' }, signal: controller.signal }
    )
    await until('the request is accepted', () => server.service.ledger.accepted === 1)
    const watch = () => fetch(`${server.url}/requests/watched/events`, { signal: controller.signal })
    const watchers = await Promise.all(Array.from({ length: 40 }, watch))
    expect(watchers.filter(({ status }) => status === 200)).toHaveLength(31)
    const refused = watchers.find(({ status }) => status === 429)!
    expect(await refused.json()).toMatchObject({ code: 'CONCURRENCY_LIMITED' })
    expect(refused.headers.get('retry-after')).not.toBeNull()
    controller.abort()
    await expect(first).rejects.toThrow()
    await until('all clients have disconnected', () => server.service.clients === 0)
  })
})
