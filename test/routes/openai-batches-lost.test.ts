import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { BatchWebhook } from '../../src/schemas/batch-webhook.js'
import type { JobDocument } from '../../src/schemas/job.js'
import { clientOf, create, ended, fileOf, lineOf, linesAt, numbered } from '../support/batches.js'
import { readyAddress, startProcess } from '../support/process.js'
import { secretOf, startReceiver } from '../support/receiver.js'
import { eventsOf } from '../support/sending.js'
import { metric, startReadyServer } from '../support/server.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'

const INSTALL_MS = 300_000
const FAKE = '--sizes 64x64 --fake-step-ms 2 --fake-encode-ms 0 --fake-decode-ms 0'

let valkey: ValkeyServer
beforeAll(async () => {
  valkey = await startValkey()
}, INSTALL_MS)
afterAll(() => valkey.stop())

const metricAt = async (url: string, name: string) =>
  Number(new RegExp(`^${name} (.*)$`, 'm').exec(await (await fetch(`${url}/metrics`)).text())![1])

describe('a batch', () => {
  it('goes on at another gateway when its own is killed, has each line once, with the same bytes, and one end that is told', async () => {
    const receiver = await startReceiver()
    const env = {
      WEBHOOK_HOSTS: receiver.url,
      WEBHOOK_NETWORKS: '127.0.0.0/8',
      WEBHOOK_SECRETS: secretOf(1),
      JOB_STORE: valkey.url,
      JOB_CLAIM_TIMEOUT: '2',
      ENGINE: 'fake',
      WORKER_ARGS: FAKE,
      HEARTBEAT_INTERVAL: '0.1'
    }
    const gateways = [1, 2].map(() => startProcess('dist/main.js', [], env))
    const urls = await Promise.all(gateways.map((gateway) => readyAddress(gateway)))
    const working = () => Promise.all(urls.map((url) => metricAt(url, 'easel_batches_working')))
    const lines = numbered(400, { num_inference_steps: 20, guidance_scale: 1 })
    const { id } = await create(clientOf({ url: urls[0]! }), lines, { webhook: receiver.url } as object)
    let owner = -1
    await until('a gateway has it', async () => (owner = (await working()).indexOf(1)) !== -1)
    const client = clientOf({ url: urls[1 - owner]! })
    const counts = async () => (await client.batches.retrieve(id)).request_counts!
    await until('a part is made', async () => (await counts()).completed > 30)
    gateways[owner]!.child.kill('SIGKILL')
    await gateways[owner]!.exit
    expect((await counts()).completed).toBeLessThan(400)
    const batch = await ended(client, id)
    expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 400, completed: 400, failed: 0 } })
    await until('its end is told', () => receiver.got.length > 0)
    const [event] = eventsOf<BatchWebhook>(receiver, secretOf(1))
    expect(event).toMatchObject({ type: 'batch.completed', data: { id, request_counts: { completed: 400 } } })
    expect(receiver.got).toHaveLength(1)
    const output = await linesAt(client, batch.output_file_id)
    expect(output.map(({ custom_id }) => custom_id)).toEqual(
      lines.map((line) => (line as { custom_id: string }).custom_id)
    )
    // One that was surely made before, and one that was surely made after.
    for (const line of [0, 399]) {
      const { seed } = (await (await fetch(`${urls[1 - owner]}/jobs/${id}-${line}`)).json()) as JobDocument
      const extra = { num_inference_steps: 20, guidance_scale: 1, seed }
      const now = await client.images.generate({ prompt: `the image line-${line}`, ...extra })
      expect(fileOf(output[line]!).equals(Buffer.from(now.data![0]!.b64_json!, 'base64'))).toBe(true)
    }
  })

  it('waits while the store is away, also in the middle, and can then be read', async () => {
    const own = await startValkey()
    onTestFinished(() => own.stop())
    const server = await startReadyServer({ JOB_STORE: own.url, JOB_CLAIM_TIMEOUT: '2' })
    await until('the job store answers', () => server.jobs.store.available)
    const client = clientOf(server)
    const { id } = await create(client, numbered(300, { num_inference_steps: 30, guidance_scale: 1 }))
    await until('a part is made', async () => (await client.batches.retrieve(id)).request_counts!.completed > 5)
    await own.kill()
    await expect(client.batches.retrieve(id)).rejects.toMatchObject({ status: 503, code: 'JOB_STORE_UNAVAILABLE' })
    await expect(client.batches.cancel(id)).rejects.toMatchObject({ status: 503, type: 'server_error' })
    await own.start()
    const batch = await ended(client, id)
    expect(batch.request_counts).toEqual({ total: 300, completed: 300, failed: 0 })
    expect(await linesAt(client, batch.output_file_id)).toHaveLength(300)
  })

  it('is left to others by a gateway that drains', async () => {
    await valkey.send('FLUSHALL')
    const env = { JOB_STORE: valkey.url, ENGINE: 'fake', WORKER_ARGS: FAKE, HEARTBEAT_INTERVAL: '0.1' }
    const leaving = startProcess('dist/main.js', [], env)
    const url = await readyAddress(leaving)
    const client = clientOf({ url })
    const { id } = await create(client, numbered(500, { num_inference_steps: 50, guidance_scale: 1 }))
    await until('a part is made', async () => (await client.batches.retrieve(id)).request_counts!.completed > 5)
    leaving.child.kill('SIGTERM')
    await leaving.exit
    const staying = await startReadyServer({ JOB_STORE: valkey.url })
    await until('the job store answers', () => staying.jobs.store.available)
    // At once: its claim was given back, and lasts 15 s.
    await until('it works on the batch', async () => (await metric(staying, 'easel_batches_working')) === 1, 10_000)
    const other = clientOf(staying)
    await other.batches.cancel(id)
    expect((await ended(other, id)).status).toBe('cancelled')
  })
})

describe('a reader of results who reads nothing', () => {
  it('makes the gateway hold one image at a time, and is disconnected', async () => {
    const server = await startReadyServer({
      WORKER_ARGS: '--sizes 512x512',
      SEND_TIMEOUT: '2',
      JOB_BYTES: '150000000',
      MEMORY_BUDGET: '2000000000'
    })
    const client = clientOf(server)
    const lines = Array.from({ length: 120 }, (_, index) => lineOf(`${index}`, { num_inference_steps: 1 }))
    const batch = await ended(client, (await create(client, lines)).id)
    const { bytes } = await client.files.retrieve(batch.output_file_id!)
    expect(bytes).toBeGreaterThan(40_000_000)
    const { images } = server.jobs.store
    const read = images.read.bind(images)
    let reads = 0
    images.read = async (...all) => {
      reads += 1
      return read(...all)
    }
    const answers = () => metric(server, 'easel_memory_bytes', 'part="answers"')
    const { hostname, port } = new URL(server.url)
    const socket: Socket = connect(Number(port), hostname)
    onTestFinished(() => void socket.destroy())
    await once(socket, 'connect')
    socket.pause()
    socket.write(`GET /v1/files/${batch.output_file_id} HTTP/1.1\r\nHost: x\r\n\r\n`.replace(' HTTP', '/content HTTP'))
    await until('it has begun', () => reads > 0)
    expect(await answers()).toBeLessThan(2_000_000)
    await until('it is disconnected', () => server.logs.some(({ msg }) => msg.includes('SEND_TIMEOUT')))
    await until('its memory is free', async () => (await answers()) === 0)
    // Most of them are in the sockets' buffers.
    expect(reads).toBeLessThan(90)
    expect(await linesAt(client, batch.output_file_id)).toHaveLength(120)
  })
})
