import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { Client } from '../../../src/webapp/page/api/client.js'
import type { GenerateRequest, ServerEvent } from '../../../src/webapp/page/api/types.js'
import { eventsOf } from '../../support/events.js'
import { generate, type RunningServer, running, startReadyServer } from '../../support/server.js'
import { until } from '../../support/wait.js'

const SLOW = { WORKER_ARGS: '--fake-step-ms 20' }
const REQUEST: GenerateRequest = { prompt: 'on its way', seed: 7, num_inference_steps: 100, width: 64, height: 64 }

/** One address in front of several gateways, like a load balancer. */
async function balancer(
  first: RunningServer
): Promise<{ url: string; statuses: number[]; to: (server: RunningServer) => void }> {
  let target = first
  const statuses: number[] = []
  const proxy = createServer((incoming, outgoing) => {
    const upstream = httpRequest(
      target.url + incoming.url!,
      { method: incoming.method, headers: incoming.headers },
      (answer) => {
        statuses.push(answer.statusCode!)
        outgoing.writeHead(answer.statusCode!, answer.headers)
        answer.pipe(outgoing)
      }
    )
    upstream.on('error', () => outgoing.destroy())
    incoming.pipe(upstream)
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  onTestFinished(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/`,
    statuses,
    to: (server) => {
      target = server
    }
  }
}

function clientOf(url: string): Client {
  vi.stubGlobal('document', { baseURI: url })
  onTestFinished(() => {
    vi.unstubAllGlobals()
  })
  return new Client({ get: () => undefined })
}

function imageOf(events: ServerEvent[]): Buffer {
  const image = events.find((event) => event.type === 'image')
  if (image?.type !== 'image') throw new Error('no image came')
  return Buffer.from(image.data, 'base64')
}

describe('a request whose server shuts down', () => {
  it('moves to the next server under the same key, and makes the same picture', { timeout: 120_000 }, async () => {
    const [one, two] = [await startReadyServer(SLOW), await startReadyServer(SLOW)]
    const front = await balancer(one)
    const client = clientOf(front.url)
    const events: ServerEvent[] = []
    const painting = (async () => {
      for await (const event of client.generate(REQUEST, { id: 'key-1', signal: new AbortController().signal }))
        events.push(event)
    })()
    await until('the first progress arrives', () => events.some(({ type }) => type === 'progress'))
    front.to(two)
    await one.close(0)
    await painting
    expect(events.some(({ type }) => type === 'error')).toBe(false)
    expect(events.at(-1)!.type).toBe('done')
    // Restarts at the first event, although the first server had reached higher ids.
    expect(events.filter(({ type }) => type === 'started')).toHaveLength(2)
    const direct = await generate(two, REQUEST)
    expect(imageOf(events).equals(Buffer.from(await direct.arrayBuffer()))).toBe(true)
    expect(two.service.ledger.accepted).toBe(2)
  })

  it('waits while it is refused, and continues when another server answers', { timeout: 120_000 }, async () => {
    const slower = { WORKER_ARGS: '--fake-step-ms 40' }
    const [one, two] = [await startReadyServer(slower), await startReadyServer(slower)]
    const front = await balancer(one)
    const client = clientOf(front.url)
    const events: ServerEvent[] = []
    // The drain lasts until this request finishes, after 2.4 s or more; the other takes at least 40 s.
    const short = generate(one, { prompt: 'x', num_inference_steps: 60 })
    await running(one)
    const painting = (async () => {
      for await (const event of client.generate(
        { ...REQUEST, num_inference_steps: 1000 },
        { id: 'key-2', signal: new AbortController().signal }
      ))
        events.push(event)
    })()
    painting.catch(() => undefined)
    await until('the first progress arrives', () => events.some(({ type }) => type === 'progress'))
    const closed = one.close(30_000)
    await until('the closing server refuses the page', () => front.statuses.includes(503))
    front.to(two)
    await until('the other server makes the image', () => two.pool.state.running === 1)
    expect(events.some(({ type }) => type === 'error')).toBe(false)
    expect((await short).status).toBe(200)
    await closed
    for (const run of two.service.find('', 'key-2')) run.cancel()
    await painting
    expect(events.at(-1)).toMatchObject({ type: 'error', code: 'CANCELLED' })
  })

  it('fails if there is no other server', async () => {
    const server = await startReadyServer(SLOW)
    const client = clientOf(`${server.url}/`)
    const events: ServerEvent[] = []
    const painting = (async () => {
      for await (const event of client.generate(REQUEST, { id: 'key-3', signal: new AbortController().signal }))
        events.push(event)
    })()
    painting.catch(() => undefined)
    await until('the first progress arrives', () => events.some(({ type }) => type === 'progress'))
    await server.close(0)
    await expect(painting).rejects.toMatchObject({ name: 'NetworkError' })
  })
})

it('any client with a key and a last id gets its stream from the first event on another server', async () => {
  const [one, two] = [await startReadyServer(SLOW), await startReadyServer(SLOW)]
  const ask = (server: RunningServer, headers: Record<string, string>) =>
    generate(
      server,
      { ...REQUEST, num_inference_steps: 30 },
      { headers: { accept: 'text/event-stream', 'idempotency-key': 'key-4', ...headers } }
    )
  let seen = 0
  let ended: { event: string; data: Record<string, unknown> } | undefined
  let text = ''
  const response = await ask(one, {})
  const [read, copy] = response.body!.tee()
  void new Response(copy).text().then((whole) => {
    text = whole
  })
  for await (const message of eventsOf(new Response(read))) {
    seen = message.id
    ended = message
    if (message.event === 'progress' && one.pool.draining === false) void one.close(0)
  }
  expect(ended).toMatchObject({ event: 'error', data: { code: 'DRAINING', retry_after: 5 } })
  await until('the first event arrives', () => text !== '')
  expect(text).toMatch(/event: error\nretry: 5000\ndata: /)
  const events: string[] = []
  for await (const { event } of eventsOf(await ask(two, { 'last-event-id': String(seen) }))) events.push(event)
  expect(events[0]).toBe('queued')
  expect(events.filter((event) => event === 'image')).toHaveLength(1)
  expect(events.at(-1)).toBe('done')
})
