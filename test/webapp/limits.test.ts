import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { RawClient, rawGenerate } from '../http/raw-client.js'
import { limitWithPictures } from '../../src/uploads/limit.js'
import { startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWeb } from '../support/web.js'

const MIB = 1024 * 1024

const head = (path: string, type: string, ...headers: string[]) =>
  ['POST', path, 'HTTP/1.1\r\nhost: x\r\ncontent-type:', type]
    .join(' ')
    .concat('\r\n', ...headers.map((line) => `${line}\r\n`), '\r\n')

describe('a body', () => {
  it.each([
    ['/generate', 'application/json', limitWithPictures(524_288, 16 * MIB) + 1],
    ['/tokenize', 'application/json', 524_289],
    ['/recipe', 'image/png', 64 * MIB + 1]
  ])('to %s with a declared length above the limit never reaches the gateway', async (path, type, length) => {
    const upstream = await startUpstream()
    const web = await startWeb(upstream.url)
    const client = new RawClient(web)
    await client.write(head(path, type, `content-length: ${length}`))
    const answer = await client.answer()
    expect(answer).toMatchObject({ status: 413, headers: { connection: 'close' } })
    expect(JSON.parse(answer!.body.toString())).toMatchObject({
      code: 'BODY_TOO_LARGE',
      requestId: answer!.headers['x-request-id']
    })
    await client.closed
    expect(upstream.requests).toBe(0)
  })

  it('in chunks is cut off when it exceeds the limit', async () => {
    const upstream = await startUpstream()
    const web = await startWeb(upstream.url, { BODY_LIMIT: '4096' })
    const client = new RawClient(web)
    const chunk = `400\r\n${' '.repeat(1024)}\r\n`
    await client.write(head('/tokenize', 'application/json', 'transfer-encoding: chunked') + chunk.repeat(3))
    await until('the gateway has the first bytes', () => upstream.received === 3072)
    // The body never ends.
    await client.write(chunk.repeat(2))
    expect((await client.answer())?.status).toBe(413)
    await client.closed
    await until('the forwarded request is aborted', () => upstream.aborted === 1)
    expect(upstream.received).toBeLessThanOrEqual(4096)
  })

  it('up to its limit is forwarded as it arrives', async () => {
    const upstream = await startUpstream()
    const web = await startWeb(upstream.url)
    const client = new RawClient(web)
    await client.write(head('/recipe', 'image/png', `content-length: ${4 * MIB}`))
    await client.write(Buffer.alloc(3 * MIB))
    await until('most of the body has arrived', () => upstream.received >= 2 * MIB)
    await client.write(Buffer.alloc(MIB))
    expect((await client.answer())?.status).toBe(200)
    expect(upstream.received).toBe(4 * MIB)
  })

  it.each([
    ['with a length', 'content-length: 1000000', 'a'],
    ['in chunks', 'transfer-encoding: chunked', '1\r\na\r\n']
  ])(
    '%s that arrives too slowly is aborted after RECEIVE_TIMEOUT, here and at the gateway',
    async (_what, length, drop) => {
      const upstream = await startUpstream()
      const web = await startWeb(upstream.url, { RECEIVE_TIMEOUT: '0.5' })
      const client = new RawClient(web)
      await client.write(head('/recipe', 'image/png', length))
      const drip = setInterval(() => void client.write(drop), 20)
      const answer = await client.answer()
      clearInterval(drip)
      expect(answer?.status).toBe(408)
      await until('the forwarded request is aborted', () => upstream.aborted === 1)
    }
  )
})

describe('an answer', () => {
  it('that a visitor does not read is not buffered here, and is cut off after SEND_TIMEOUT', async () => {
    const upstream = await startUpstream(512 * MIB)
    const web = await startWeb(upstream.url, { SEND_TIMEOUT: '0.5' })
    const visitor = connect(Number(new URL(web.url).port), '127.0.0.1').on('error', () => undefined)
    onTestFinished(() => void visitor.destroy())
    visitor.write(rawGenerate({ prompt: 'x' }))
    await until('the visitor is disconnected', () =>
      web.logs.some(({ msg }) => msg.startsWith('cut off a client that does not read'))
    )
    await until("the gateway's connection is closed", () => upstream.closed === 1)
    // The kernel's buffers of three sockets, and a little more.
    expect(upstream.sent).toBeLessThan(64 * MIB)
  })

  it('that stays silent for longer than SEND_TIMEOUT is not cut off', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const web = await startWeb(server.url, { SEND_TIMEOUT: '0.1' })
    for (const accept of ['image/png', 'text/event-stream']) {
      const client = new RawClient(web)
      await client.write(
        rawGenerate({ prompt: 'x', num_inference_steps: 60 }, [`accept: ${accept}`, 'connection: close'])
      )
      expect((await client.answer())?.status).toBe(200)
    }
  })
})

describe('requests in flight', () => {
  it('have a limit, above which visitors can still get the status and cancel', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const web = await startWeb(server.url, { MAX_REQUESTS: '2' })
    const id = 'i'.repeat(128)
    const ask = (name: string, steps: number) =>
      fetch(`${web.url}/generate`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-request-id': name },
        body: JSON.stringify({ prompt: 'x', num_inference_steps: steps })
      })
    const both = [ask(id, 1000), ask('other', 1000)]
    await until('two requests are in flight', () => server.service.ledger.inFlight === 2)
    const refused = await ask('third', 1)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '5'])
    expect(await refused.json()).toMatchObject({ code: 'QUEUE_FULL', requestId: 'third' })
    expect(
      (await fetch(`${web.url}/recipe`, { method: 'POST', headers: { 'content-type': 'image/png' }, body: 'x' })).status
    ).toBe(429)
    expect((await fetch(`${web.url}/health`)).status).toBe(200)
    expect((await fetch(`${web.url}/requests/${id}`, { method: 'DELETE' })).status).toBe(204)
    expect((await both[0])!.status).toBe(499)
    await until('another request is accepted', async () => (await ask('fourth', 1)).status === 200)
    expect((await fetch(`${web.url}/requests/other`, { method: 'DELETE' })).status).toBe(204)
    await both[1]
  })
})

/** A gateway that reads any body, then answers with the given number of bytes as fast as they are read. */
async function startUpstream(answerBytes = 2) {
  const upstream = { url: '', requests: 0, received: 0, aborted: 0, sent: 0, closed: 0 }
  const server = createServer((request, response) => {
    upstream.requests++
    request.on('data', (chunk: Buffer) => (upstream.received += chunk.length))
    request.on('error', () => upstream.aborted++)
    request.on('end', () => void answer(response))
    response.once('close', () => upstream.closed++)
  })
  async function answer(response: ServerResponse<IncomingMessage>): Promise<void> {
    response.writeHead(200, { 'content-type': 'application/json' })
    const piece = Buffer.alloc(Math.min(answerBytes, MIB), ' ')
    while (upstream.sent < answerBytes && !response.destroyed) {
      upstream.sent += piece.length
      if (!response.write(piece)) await Promise.race([once(response, 'drain'), once(response, 'close')])
    }
    response.end()
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  upstream.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return upstream
}
