import type { AddressInfo } from 'node:net'
import { beforeAll, describe, expect, it } from 'vitest'
import { type LogLine, openServer, type RunningServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { openWeb } from '../support/web.js'
import { type RawAnswer, RawClient } from './raw-client.js'

/** A running application, as far as these tests look at it. */
interface Side {
  url: string
  logs: LogLine[]
}

let server: RunningServer
const sides = {} as Record<'gateway' | 'admin' | 'page', Side>

beforeAll(async () => {
  const opened = await openServer({
    RECEIVE_TIMEOUT: '0.5',
    BODY_LIMIT: '65536',
    ADMIN_PORT: '0',
    WORKER_ARGS: '--fake-step-ms 5'
  })
  ;({ server } = opened)
  await server.engine.firstReady
  await server.admin!.listen({ host: '127.0.0.1', port: 0 })
  const web = await openWeb(server.url, { RECEIVE_TIMEOUT: '0.5' })
  sides.gateway = server
  sides.admin = { logs: server.logs, url: `http://127.0.0.1:${(server.admin!.server.address() as AddressInfo).port}` }
  sides.page = web
  return async () => {
    await web.stop()
    await opened.stop()
  }
})

async function ask(side: Side, bytes: string): Promise<{ answer: RawAnswer | undefined; client: RawClient }> {
  const client = new RawClient(side)
  await client.write(bytes)
  return { answer: await client.answer(), client }
}

/** The one form of errors, as docs/errors.md has it. @returns the body */
function expectForm(answer: RawAnswer | undefined, status: number, code: string): Record<string, unknown> {
  expect(answer?.status).toBe(status)
  const { headers, body } = answer!
  expect(headers).toMatchObject({
    'content-type': 'application/json; charset=utf-8',
    'x-request-id': expect.stringMatching(/./)
  })
  expect(Date.parse(headers['date']!)).not.toBeNaN()
  const said = JSON.parse(body.toString()) as Record<string, unknown>
  expect(said).toMatchObject({
    statusCode: status,
    code,
    error: expect.any(String),
    message: expect.any(String),
    requestId: headers['x-request-id']
  })
  return said
}

const LONG = 'z'.repeat(12_000)

describe.each(['gateway', 'admin', 'page'] as const)('%s: the one form of errors', (name) => {
  it.each([
    ['no host', 'GET /health HTTP/1.1\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['no host where there is nothing', 'GET /nothing HTTP/1.1\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['two hosts', 'GET /health HTTP/1.1\r\nhost: x\r\nHost: y\r\n\r\n', 400, 'INVALID_REQUEST'],
    [
      'an expectation that nobody meets',
      'POST /generate HTTP/1.1\r\nhost: x\r\nexpect: miracles\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n',
      417,
      'EXPECTATION_FAILED'
    ],
    ['a path that is no UTF-8', 'GET /%ff HTTP/1.1\r\nhost: x\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['a broken escape', 'GET /%zz HTTP/1.1\r\nhost: x\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['a path that is not there', 'GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n', 404, 'NOT_FOUND'],
    ['a path without a slash', 'OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n', 404, 'NOT_FOUND'],
    ['another method', 'PUT /health HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n', 405, 'METHOD_NOT_ALLOWED'],
    ['no HTTP', 'hello\r\n\r\n', 400, 'INVALID_REQUEST'],
    [
      'a coding that is not there',
      'GET /health HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n',
      400,
      'INVALID_REQUEST'
    ],
    ['CONNECT', 'CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n', 400, 'INVALID_REQUEST'],
    [
      'headers of 100 KB',
      `GET /health HTTP/1.1\r\nhost: x\r\nx-big: ${'a'.repeat(100_000)}\r\n\r\n`,
      431,
      'HEADERS_TOO_LARGE'
    ],
    ['half a request', 'GET /health HTTP/1.1\r\nhost: x\r\n', 408, 'REQUEST_TIMEOUT']
  ])('%s', async (_what, bytes, status, code) => {
    const { answer } = await ask(sides[name], bytes)
    expectForm(answer, status, code)
  })

  it('closes what it cannot go on with, and keeps the rest open', async () => {
    for (const bytes of [
      'GET /health HTTP/1.1\r\n\r\n',
      'POST /generate HTTP/1.1\r\nhost: x\r\nexpect: miracles\r\ncontent-length: 9\r\n\r\n'
    ]) {
      const { answer, client } = await ask(sides[name], bytes)
      expect(answer?.headers['connection']).toBe('close')
      await client.closed
    }
    const { client } = await ask(sides[name], 'GET /%ff HTTP/1.1\r\nhost: x\r\n\r\n')
    await client.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\n')
    expect((await client.answer())?.status).toBe(200)
  })

  it('takes HTTP/1.0, which knows no Host and no expectations', async () => {
    const { answer, client } = await ask(sides[name], 'GET /health HTTP/1.0\r\nexpect: miracles\r\n\r\n')
    expect(answer?.status).toBe(200)
    await client.closed
  })

  it('answers HEAD without a body', async () => {
    const client = new RawClient(sides[name])
    let received = ''
    client.socket.on('data', (chunk: Buffer) => (received += chunk.toString()))
    await client.write('HEAD /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
    await client.closed
    expect(received).toMatch(/^HTTP\/1.1 404 Not Found\r\nx-request-id: \S+\r\n(\S.*\r\n)+\r\n$/)
  })

  it('says nothing into an answer that has begun, nor in the place of one that is due', async () => {
    // What a client would read as its second answer.
    const { answer, client } = await ask(sides[name], 'GET /health HTTP/1.1\r\nhost: x\r\n\r\nhello\r\n\r\n')
    expect(answer === undefined || answer.status === 200).toBe(true)
    await client.closed
  })

  it('repeats a long path only in part, in the answer and in the log', async () => {
    for (const path of [`/${LONG}`, `/%ff${LONG}`, `/requests/${LONG}`]) {
      const { answer } = await ask(sides[name], `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
      expect(answer!.status).toBeLessThan(500)
      expect(answer!.body.length).toBeLessThan(1000)
    }
    await expectShortLines(sides[name], 'z'.repeat(500))
  })

  it('keeps no id of a client that is long or strange', async () => {
    const { answer } = await ask(sides[name], `GET /nothing HTTP/1.1\r\nhost: x\r\nx-request-id: ${LONG}\r\n\r\n`)
    expect(answer!.headers['x-request-id']!.length).toBeLessThan(64)
    await expectShortLines(sides[name], 'z'.repeat(500))
  })
})

/** Waits for the line of one more request, so that those of all before are there, and looks at them all. */
async function expectShortLines({ url, logs }: Side, words: string): Promise<void> {
  await fetch(`${url}/last`)
  await until('it is logged', () => logs.at(-1)?.['path'] === '/last')
  for (const line of logs) {
    expect(JSON.stringify(line).length).toBeLessThan(4000)
    expect(JSON.stringify(line)).not.toContain(words)
  }
}

const post = (path: string, type: string, body: string) =>
  `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`

describe.each(['gateway', 'page'] as const)('%s: requests for images', (name) => {
  it.each([
    'text/plain',
    'text/plain; charset=utf-8',
    'text/html',
    'application/x-www-form-urlencoded',
    'application/octet-stream',
    'image/png',
    'multipart/form-data; boundary=x',
    'application/json-patch+json',
    'nonsense',
    'a/b/c',
    LONG
  ])('are refused as %.40s', async (type) => {
    const { answer } = await ask(sides[name], post('/generate', type, '{"prompt":"x"}'))
    expectForm(answer, 415, 'UNSUPPORTED_MEDIA_TYPE')
  })

  it('are refused without a type', async () => {
    const { answer } = await ask(sides[name], 'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}')
    expectForm(answer, 415, 'UNSUPPORTED_MEDIA_TYPE')
  })

  it('that begin when they are told to are still told to', async () => {
    const client = new RawClient(sides[name])
    const body = '{"prompt":"x","num_inference_steps":2}'
    await client.write(
      `POST /generate HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`
    )
    await client.write(body)
    expect((await client.answer())?.status).toBe(200)
  })

  it.each([
    ['a prompt', 'a cat in a hat, and more of it: '.repeat(1500)],
    ['an ANSI sequence', '\u{1b}[31mred'],
    ['text that runs from right to left', '\u{202e}gnp.txet']
  ])('with %s as a key are answered with a part of it, which no log has', async (_what, key) => {
    const { answer } = await ask(
      sides[name],
      post('/generate', 'application/json', JSON.stringify({ prompt: 'x', [key]: 1 }))
    )
    const said = expectForm(answer, 400, 'INVALID_REQUEST')
    expect(answer!.body.length).toBeLessThan(500)
    expect((said['field'] as string).length).toBeLessThanOrEqual(65)
    for (const text of [said['field'], said['message']]) expect(text).toMatch(/^[^\p{C}]+$/u)
    await expectShortLines(sides[name], JSON.stringify(key).slice(1, 12))
    const lines = sides[name].logs.filter(({ requestId }) => requestId === said['requestId'])
    expect(lines.length).toBeGreaterThan(0)
    for (const line of lines) expect(line).not.toHaveProperty('field')
  })

  it('with a field that is known but wrong are logged by its name', async () => {
    const { answer } = await ask(
      sides[name],
      post('/generate', 'application/json', JSON.stringify({ prompt: 'x', seed: 'secret' }))
    )
    expect(expectForm(answer, 400, 'INVALID_REQUEST')['field']).toBe('seed')
    if (name === 'gateway') expect(server.logs.filter(({ field }) => field === 'seed').length).toBeGreaterThan(0)
  })

  it('that are no JSON are not quoted', async () => {
    const { answer } = await ask(sides[name], post('/generate', 'application/json', '{"prompt": qqqqqqqq'))
    expectForm(answer, 400, 'INVALID_REQUEST')
    expect(answer!.body.toString()).not.toContain('qq')
    await expectShortLines(sides[name], 'qq')
  })
})

describe('gateway: what only it has', () => {
  it.each(['text/plain', 'text/html'])('/recipe and the OpenAI API take no %s either', async (type) => {
    const { answer } = await ask(server, post('/v1/images/generations', type, '{"prompt":"x"}'))
    expect(answer?.status).toBe(415)
    expect(JSON.parse(answer!.body.toString())).toMatchObject({
      error: { code: 'UNSUPPORTED_MEDIA_TYPE', type: 'invalid_request_error' }
    })
    expectForm((await ask(server, post('/recipe', type, 'x'))).answer, 415, 'UNSUPPORTED_MEDIA_TYPE')
  })

  it('a path under /v1 that is no UTF-8 is answered as that API does', async () => {
    const { answer } = await ask(server, 'GET /v1/models/%ff HTTP/1.1\r\nhost: x\r\n\r\n')
    expect(answer?.headers['x-request-id']).toMatch(/./)
    expect(JSON.parse(answer!.body.toString())).toMatchObject({
      error: { code: 'INVALID_REQUEST', type: 'invalid_request_error' }
    })
  })

  it('a model that is not there is named in part', async () => {
    const { answer } = await ask(server, `GET /v1/models/${'z'.repeat(1000)} HTTP/1.1\r\nhost: x\r\n\r\n`)
    expect(answer?.status).toBe(404)
    expect(answer!.body.length).toBeLessThan(400)
  })

  it('what is no HTTP does not come into a stream of events', async () => {
    const body = '{"prompt":"x","num_inference_steps":1000}'
    const client = new RawClient(server)
    let received = ''
    client.socket.on('data', (chunk: Buffer) => (received += chunk.toString()))
    await client.write(post('/generate', 'application/json\r\naccept: text/event-stream', body))
    await until('events come', () => received.includes('event: progress'))
    await client.write('hello\r\n\r\n')
    await client.closed
    expect(received.match(/HTTP\/1\.1/g)).toHaveLength(1)
    await until('nothing runs', () => server.service.ledger.inFlight === 0)
  })
})

it('nothing went wrong inside', () => {
  for (const { logs } of Object.values(sides))
    expect(logs.filter(({ level, code }) => level >= 50 || code === 'INTERNAL')).toEqual([])
})
