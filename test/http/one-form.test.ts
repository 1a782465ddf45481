import type { AddressInfo } from 'node:net'
import { beforeAll, describe, expect, it } from 'vitest'
import { type LogLine, openServer, type RunningServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { openWeb } from '../support/web.js'
import { type RawAnswer, RawClient } from './raw-client.js'

/** The parts of a running application that these tests use. */
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
  await server.pool.firstReady
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

/** Checks that an answer has the common error form of docs/errors.md. @returns the body */
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

describe.each(['gateway', 'admin', 'page'] as const)('%s: the common error form', (name) => {
  it.each([
    ['no Host', 'GET /health HTTP/1.1\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['no Host, for an unknown path', 'GET /nothing HTTP/1.1\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['two Host headers', 'GET /health HTTP/1.1\r\nhost: x\r\nHost: y\r\n\r\n', 400, 'INVALID_REQUEST'],
    [
      'an unsupported expectation',
      'POST /generate HTTP/1.1\r\nhost: x\r\nexpect: miracles\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n',
      417,
      'EXPECTATION_FAILED'
    ],
    ['a path that is not UTF-8', 'GET /%ff HTTP/1.1\r\nhost: x\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['an invalid escape', 'GET /%zz HTTP/1.1\r\nhost: x\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['an unknown path', 'GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n', 404, 'NOT_FOUND'],
    ['a path without a slash', 'OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n', 404, 'NOT_FOUND'],
    [
      'an unsupported method',
      'PUT /health HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n',
      405,
      'METHOD_NOT_ALLOWED'
    ],
    ['bytes that are not HTTP', 'hello\r\n\r\n', 400, 'INVALID_REQUEST'],
    [
      'an unsupported transfer coding',
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

  it('closes the connection only if it cannot be reused', async () => {
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

  it('accepts HTTP/1.0 without Host, and ignores its Expect', async () => {
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

  it('does not write an error into a started answer or in place of a pending one', async () => {
    // The client would read an error as the answer to its second request.
    const { answer, client } = await ask(sides[name], 'GET /health HTTP/1.1\r\nhost: x\r\n\r\nhello\r\n\r\n')
    expect(answer === undefined || answer.status === 200).toBe(true)
    await client.closed
  })

  it('truncates a long path in the answer and in the log', async () => {
    for (const path of [`/${LONG}`, `/%ff${LONG}`, `/requests/${LONG}`]) {
      const { answer } = await ask(sides[name], `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
      expect(answer!.status).toBeLessThan(500)
      expect(answer!.body.length).toBeLessThan(1000)
    }
    await expectShortLines(sides[name], 'z'.repeat(500))
  })

  it('replaces a request id that is too long', async () => {
    const { answer } = await ask(sides[name], `GET /nothing HTTP/1.1\r\nhost: x\r\nx-request-id: ${LONG}\r\n\r\n`)
    expect(answer!.headers['x-request-id']!.length).toBeLessThan(64)
    await expectShortLines(sides[name], 'z'.repeat(500))
  })
})

/** Waits for the log line of one more request, so that all earlier lines have arrived, then checks every line. */
async function expectShortLines({ url, logs }: Side, words: string): Promise<void> {
  await fetch(`${url}/last`)
  await until('the request is logged', () => logs.at(-1)?.['path'] === '/last')
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
    'multipart/mixed; boundary=x',
    'application/json-patch+json',
    'nonsense',
    'a/b/c',
    LONG
  ])('are refused with content-type %.40s', async (type) => {
    const { answer } = await ask(sides[name], post('/generate', type, '{"prompt":"x"}'))
    expectForm(answer, 415, 'UNSUPPORTED_MEDIA_TYPE')
  })

  it('are refused without a content-type', async () => {
    const { answer } = await ask(sides[name], 'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}')
    expectForm(answer, 415, 'UNSUPPORTED_MEDIA_TYPE')
  })

  it('with Expect: 100-continue get their 100', async () => {
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
    ['right-to-left text', '\u{202e}gnp.txet']
  ])('with %s as a key get it back truncated, and never logged', async (_what, key) => {
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

  it('with an invalid value of a known field are logged with its name', async () => {
    const { answer } = await ask(
      sides[name],
      post('/generate', 'application/json', JSON.stringify({ prompt: 'x', seed: 'secret' }))
    )
    expect(expectForm(answer, 400, 'INVALID_REQUEST')['field']).toBe('seed')
    if (name === 'gateway') expect(server.logs.filter(({ field }) => field === 'seed').length).toBeGreaterThan(0)
  })

  it('that are not JSON are not quoted', async () => {
    const { answer } = await ask(sides[name], post('/generate', 'application/json', '{"prompt": qqqqqqqq'))
    expectForm(answer, 400, 'INVALID_REQUEST')
    expect(answer!.body.toString()).not.toContain('qq')
    await expectShortLines(sides[name], 'qq')
  })
})

describe('the gateway alone', () => {
  it.each(['text/plain', 'text/html'])('refuses %s on /recipe and the OpenAI API too', async (type) => {
    const { answer } = await ask(server, post('/v1/images/generations', type, '{"prompt":"x"}'))
    expect(answer?.status).toBe(415)
    expect(JSON.parse(answer!.body.toString())).toMatchObject({
      error: { code: 'UNSUPPORTED_MEDIA_TYPE', type: 'invalid_request_error' }
    })
    expectForm((await ask(server, post('/recipe', type, 'x'))).answer, 415, 'UNSUPPORTED_MEDIA_TYPE')
  })

  it("answers a non-UTF-8 path under /v1 in OpenAI's form", async () => {
    const { answer } = await ask(server, 'GET /v1/models/%ff HTTP/1.1\r\nhost: x\r\n\r\n')
    expect(answer?.headers['x-request-id']).toMatch(/./)
    expect(JSON.parse(answer!.body.toString())).toMatchObject({
      error: { code: 'INVALID_REQUEST', type: 'invalid_request_error' }
    })
  })

  it('truncates the name of an unknown model', async () => {
    const { answer } = await ask(server, `GET /v1/models/${'z'.repeat(1000)} HTTP/1.1\r\nhost: x\r\n\r\n`)
    expect(answer?.status).toBe(404)
    expect(answer!.body.length).toBeLessThan(400)
  })

  it('does not write an error into an event stream', async () => {
    const body = '{"prompt":"x","num_inference_steps":1000}'
    const client = new RawClient(server)
    let received = ''
    client.socket.on('data', (chunk: Buffer) => (received += chunk.toString()))
    await client.write(post('/generate', 'application/json\r\naccept: text/event-stream', body))
    await until('progress events arrive', () => received.includes('event: progress'))
    await client.write('hello\r\n\r\n')
    await client.closed
    expect(received.match(/HTTP\/1\.1/g)).toHaveLength(1)
    await until('no request is in flight', () => server.service.ledger.inFlight === 0)
  })
})

it('no application logged an internal error', () => {
  for (const { logs } of Object.values(sides))
    expect(logs.filter(({ level, code }) => level >= 50 || code === 'INTERNAL')).toEqual([])
})
