import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type RunningServer, shareServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { type RawAnswer, RawClient, rawGenerate } from './raw-client.js'

let server: RunningServer

shareServer((ready) => (server = ready), {
  RECEIVE_TIMEOUT: '0.5',
  BODY_LIMIT: '4096',
  WORKER_ARGS: '--fake-step-ms 5'
})

/** Checks that the server still serves other clients and has logged no errors. */
async function expectUnharmed(): Promise<void> {
  const health = await fetch(`${server.url}/health`)
  expect(health.status).toBe(200)
  expect(server.logs.filter(({ level }) => level >= 50)).toEqual([])
}

/** Checks that the answer to malformed bytes is a 4xx in our error form, or none at all. */
function expectRefusal(answer: RawAnswer | undefined): void {
  if (answer === undefined) return
  expect(answer.status, answer.body.toString()).toBeGreaterThanOrEqual(400)
  expect(answer.status, answer.body.toString()).toBeLessThan(500)
  expect(JSON.parse(answer.body.toString())).toMatchObject({
    statusCode: answer.status,
    code: expect.any(String),
    requestId: expect.any(String)
  })
}

async function say(...parts: (string | Uint8Array)[]): Promise<RawClient> {
  const client = new RawClient(server)
  for (const part of parts) await client.write(part)
  return client
}

describe('a slow client', () => {
  it.each([
    ['sending its headers', 'GET /health HTTP/1.1\r\nhost: x\r\nx-slow: '],
    [
      'sending its body',
      'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4000\r\n\r\n{"prompt":'
    ],
    [
      'sending its chunks',
      'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{"\r\n'
    ]
  ])('%s gets 408 after RECEIVE_TIMEOUT even if it keeps sending', async (_what, start) => {
    const accepted = server.service.ledger.accepted
    const client = await say(start)
    const drip = setInterval(() => void client.write(start.endsWith('\r\n') ? '1\r\na\r\n' : 'a'), 20)
    const answer = await client.answer()
    clearInterval(drip)
    expect(answer?.status).toBe(408)
    expect(JSON.parse(answer!.body.toString())).toMatchObject({
      statusCode: 408,
      code: 'REQUEST_TIMEOUT',
      requestId: expect.any(String)
    })
    await client.closed
    expect(server.service.ledger.accepted).toBe(accepted)
    await expectUnharmed()
  })

  it('that stays silent does not keep others out, even 200 at once', async () => {
    const silent = Array.from({ length: 200 }, () => new RawClient(server))
    await Promise.all(silent.map((client) => client.write('')))
    await expectUnharmed()
  })
})

describe('a client that closes its half of the connection', () => {
  it('counts as disconnected: its request is cancelled', async () => {
    const { accepted, ended } = server.service.ledger
    const cancelled = ended.cancelled
    const client = await say(rawGenerate({ prompt: 'half', num_inference_steps: 1000 }))
    await until('the request is accepted', () => server.service.ledger.accepted === accepted + 1)
    client.socket.end()
    await client.closed
    await until('the request is cancelled', () => server.service.ledger.ended.cancelled === cancelled + 1)
  })
})

describe('an oversized request', () => {
  it.each([
    ['a header of 100 KB', `GET /health HTTP/1.1\r\nhost: x\r\nx-big: ${'a'.repeat(100_000)}\r\n\r\n`, 431],
    ['10,000 headers', `GET /health HTTP/1.1\r\nhost: x\r\n${'x-a: b\r\n'.repeat(10_000)}\r\n`, 431],
    ['a path of 100 KB', `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nhost: x\r\n\r\n`, 431],
    [
      'a declared length above the limit',
      'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000000000\r\n\r\n{',
      413
    ],
    [
      'a chunked body above the limit',
      `POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n${`400\r\n${' '.repeat(1024)}\r\n`.repeat(20)}`,
      413
    ],
    [
      'a chunk extension of 100 KB',
      `POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1;${'a'.repeat(100_000)}\r\n{\r\n`,
      400
    ]
  ])('%s is refused before it has arrived completely', async (_what, bytes, status) => {
    const client = await say(bytes)
    expect((await client.answer())?.status).toBe(status)
    await client.closed
    await expectUnharmed()
  })
})

describe('pipelined requests', () => {
  it('are all answered in order, each with its own image', async () => {
    const seeds = Array.from({ length: 12 }, (_, index) => index)
    // The first ones take longest, so the answers must wait for their turn.
    const client = await say(
      seeds.map((seed) => rawGenerate({ prompt: 'piped', seed, num_inference_steps: 24 - 2 * seed })).join('')
    )
    for (const seed of seeds)
      expect(await client.answer()).toMatchObject({ status: 200, headers: { 'easel-seed': String(seed) } })
  })

  it('are all cancelled when their client disconnects', async () => {
    const { cancelled } = server.service.ledger.ended
    const accepted = server.service.ledger.accepted
    const client = await say(
      Array.from({ length: 5 }, () => rawGenerate({ prompt: 'piped', num_inference_steps: 1000 })).join('')
    )
    await until('five requests are accepted', () => server.service.ledger.accepted === accepted + 5)
    client.socket.destroy()
    await until('five requests are cancelled', () => server.service.ledger.ended.cancelled === cancelled + 5)
    expect(server.service.ledger.inFlight).toBe(0)
  })

  it('are cancelled when invalid bytes follow them', async () => {
    const client = await say(`${rawGenerate({ prompt: 'x', num_inference_steps: 1000 })}this is no HTTP\r\n\r\n`)
    expectRefusal(await client.answer())
    await client.closed
    await until('no request is in flight', () => server.service.ledger.inFlight === 0)
    await expectUnharmed()
  })
})

describe('malformed HTTP', () => {
  it.each([
    ['a method that does not exist', 'EAT /health HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['no Host', 'GET /health HTTP/1.1\r\n\r\n'],
    ['an unknown HTTP version', 'GET /health HTTP/7.1\r\nhost: x\r\n\r\n'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['TLS', Uint8Array.of(0x16, 3, 1, 0, 0xa5, 1, 0, 0, 0xa1, 3, 3, 0, 0, 13, 10, 13, 10)],
    ['a space in a header name', 'GET /health HTTP/1.1\r\nhost: x\r\nbad name: y\r\n\r\n'],
    ['a zero byte in a header', 'GET /health HTTP/1.1\r\nhost: x\r\na: \0\r\n\r\n'],
    ['a folded header', 'GET /health HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n'],
    ['a bare line feed', 'POST /generate HTTP/1.1\nhost: x\ncontent-length: 2\n\n{}'],
    ['two lengths', 'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}'],
    [
      'both a length and chunks',
      'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'
    ],
    ['a negative length', 'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n'],
    ['a length that is not a number', 'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: two\r\n\r\n{}'],
    [
      'a chunk size that is not a number',
      'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n'
    ],
    [
      'a chunk size of 50 digits',
      `POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n${'f'.repeat(50)}\r\n{}\r\n0\r\n\r\n`
    ],
    [
      'a chunk longer than its size',
      'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{}{}{}\r\n0\r\n\r\n'
    ],
    [
      'two transfer encodings',
      'POST /generate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n'
    ],
    ['CONNECT', 'CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['an invalid escape in the path', 'GET /requests/%ZZ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'],
    [
      'an id of 2,000 characters',
      `DELETE /requests/${'a'.repeat(2000)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`
    ],
    ['a path with ..', 'GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n']
  ])('%s is refused', async (_what, bytes) => {
    const accepted = server.service.ledger.accepted
    const client = await say(bytes)
    expectRefusal(await client.answer())
    await client.closed
    expect(server.service.ledger.accepted).toBe(accepted)
    await expectUnharmed()
  })

  it('never causes a 5xx, whatever the bytes', async () => {
    const line = fc.constantFrom(
      'GET /health HTTP/1.1\r\n',
      'POST /generate HTTP/1.1\r\n',
      'host: x\r\n',
      'content-length: 5\r\n',
      'transfer-encoding: chunked\r\n',
      'content-type: application/json\r\n',
      '\r\n',
      '0\r\n',
      'ffffffff\r\n',
      ':\r\n',
      '{}'
    )
    const bytes = fc.array(
      fc.oneof(
        line.map((text) => Buffer.from(text)),
        fc.uint8Array({ maxLength: 20 })
      ),
      { minLength: 1, maxLength: 10 }
    )
    await fc.assert(
      fc.asyncProperty(bytes, async (parts) => {
        const client = await say(Buffer.concat(parts))
        client.socket.end()
        await client.closed
        for (let answer = await client.answer(); answer !== undefined; answer = await client.answer())
          expect(answer.status).toBeLessThan(500)
      }),
      { numRuns: 300 }
    )
    await expectUnharmed()
  })
})

describe('a client that disconnects in the middle', () => {
  it.each([
    ['of its headers', 'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-'],
    [
      'of its body',
      'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"prompt":"x"'
    ],
    [
      'of a chunk',
      'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"prompt":'
    ],
    [
      'of waiting for 100 Continue',
      'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n'
    ]
  ])('%s leaves no connection or request behind', async (_what, bytes) => {
    const accepted = server.service.ledger.accepted
    for (const leave of ['destroy', 'end', 'resetAndDestroy'] as const) {
      const client = await say(bytes)
      client.socket[leave]()
      await client.closed
    }
    await until('the connections are closed', async () => (await connections()) <= 1)
    expect(server.service.ledger.accepted).toBe(accepted)
    await expectUnharmed()
  })
})

function connections(): Promise<number> {
  return new Promise((resolve, reject) =>
    server.app.server.getConnections((error, count) => (error ? reject(error) : resolve(count)))
  )
}

describe('expectations', () => {
  it('100-continue gets its 100', async () => {
    const client = new RawClient(server)
    const [head, body] = rawGenerate({ prompt: 'x', num_inference_steps: 2 }, ['expect: 100-continue']).split(
      '\r\n\r\n'
    )
    await client.write(`${head}\r\n\r\n`)
    await client.write(body!)
    expect((await client.answer())?.status).toBe(200)
  })

  it('any other gets 417', async () => {
    const client = await say(rawGenerate({ prompt: 'x' }, ['expect: miracles', 'connection: close']))
    expect((await client.answer())?.status).toBe(417)
  })

  it('an unsupported upgrade does no harm', async () => {
    const client = await say('GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
    const answer = await client.answer()
    expect(answer === undefined || answer.status < 500).toBe(true)
    await expectUnharmed()
  })
})
