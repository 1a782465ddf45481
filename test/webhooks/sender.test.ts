import { lookup } from 'node:dns'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer as createHttps } from 'node:https'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Webhook } from 'standardwebhooks'
import { packageRoot } from '../../src/gateway-options.js'
import { parseNetworks } from '../../src/webhooks/addresses.js'
import { parseSecrets } from '../../src/webhooks/secrets.js'
import { WebhookSender } from '../../src/webhooks/sender.js'
import { certificate } from '../support/certificate.js'
import { startDns } from '../support/dns.js'
import { secretOf, startReceiver, status } from '../support/receiver.js'

const NEVER = new AbortController().signal
const SECRETS = parseSecrets(secretOf(1))

function sender({ networks = '127.0.0.0/8 ::1/128', timeout = 5000, dns = undefined as string | undefined } = {}) {
  return new WebhookSender({
    networks: parseNetworks(networks),
    version: '1.2.3',
    timeout,
    ...(dns === undefined ? {} : { dns: [dns] })
  })
}

const send = (url: string, by = sender(), stop = NEVER) =>
  by.send({ id: 'msg_1', url: new URL(url), body: '{"ü":1}', secrets: SECRETS }, stop)

/** A server that does with each connection what the test says. */
async function raw(talk: (socket: Socket) => void): Promise<{ url: string; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    talk(socket)
    socket.resume()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, sockets }
}

describe('a webhook', () => {
  it('is a POST with a signature', async () => {
    const { url, got } = await startReceiver()
    expect(await send(`${url}/a/b?c=d`)).toEqual({ how: 'delivered' })
    const [{ path, headers, body }] = got as [(typeof got)[0]]
    expect([path, body]).toEqual(['/a/b?c=d', '{"ü":1}'])
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'user-agent': 'easel/1.2.3',
      'webhook-id': 'msg_1'
    })
    expect(new Webhook(secretOf(1)).verify(body, headers)).toEqual({ ü: 1 })
  })

  it.each([
    [200, {}, { how: 'delivered' }],
    [204, {}, { how: 'delivered' }],
    [410, {}, { how: 'gone' }],
    [400, {}, { how: 'failed', why: 'it answered 400', retryAfter: 0 }],
    [500, { 'retry-after': '7' }, { how: 'failed', why: 'it answered 500', retryAfter: 0 }],
    [429, { 'retry-after': '7' }, { how: 'failed', why: 'it answered 429', retryAfter: 7000 }],
    [503, { 'retry-after': '0' }, { how: 'failed', why: 'it answered 503', retryAfter: 0 }],
    [503, { 'retry-after': 'soon' }, { how: 'failed', why: 'it answered 503', retryAfter: 0 }],
    [503, { 'retry-after': new Date(0).toUTCString() }, { how: 'failed', why: 'it answered 503', retryAfter: 0 }]
  ])('that is answered %i %o', async (code, headers, sent) => {
    const { url } = await startReceiver(status(code, headers as Record<string, string>))
    expect(await send(url)).toEqual(sent)
  })

  it('waits until a date', async () => {
    const date = new Date(Date.now() + 60_000).toUTCString()
    const { url } = await startReceiver(status(503, { 'retry-after': date }))
    const sent = (await send(url)) as { retryAfter: number }
    expect(sent.retryAfter).toBeGreaterThan(50_000)
    expect(sent.retryAfter).toBeLessThanOrEqual(60_000)
  })

  it.each([301, 302, 303, 307, 308])('follows no redirect (%i)', async (code) => {
    const other = await startReceiver()
    const { url, got } = await startReceiver(status(code, { location: other.url }))
    expect(await send(url)).toMatchObject({ how: 'failed', why: `it answered ${code}: redirects are not followed` })
    expect([got.length, other.got.length]).toEqual([1, 0])
  })

  it.each(['127.0.0.1', '[::1]', '[::ffff:127.0.0.1]', '2130706433', '0x7f.1'])(
    'goes to no private address, however it is written: %s',
    async (host) => {
      const { sockets, url } = await raw(() => undefined)
      const sent = await send(url.replace('127.0.0.1', host), sender({ networks: '' }))
      expect(sent).toMatchObject({ how: 'failed', why: expect.stringContaining('WEBHOOK_NETWORKS') as string })
      expect(sockets.size).toBe(0)
    }
  )

  it('goes by name to what is allowed only, and asks what the name means once', async () => {
    const { url, host, got } = await startReceiver()
    // It means another address each time, as that of somebody who attacks would.
    const { address: dns, asked } = await startDns((name, nth) =>
      name === 'a.example' ? ['10.1.1.1', nth === 1 ? '127.0.0.1' : '127.0.0.2'] : ['127.0.0.3', '::1']
    )
    const named = url.replace('127.0.0.1', 'a.example')
    const by = sender({ networks: '127.0.0.1/32', dns })
    expect(await send(named, by)).toEqual({ how: 'delivered' })
    expect([asked, got.map(({ headers }) => headers['host'])]).toEqual([
      ['a.example'],
      [host.replace('127.0.0.1', 'a.example')]
    ])
    const refused = { how: 'failed', why: expect.stringContaining('WEBHOOK_NETWORKS') as string }
    expect(await send(named, by)).toMatchObject(refused)
    expect(await send(url.replace('127.0.0.1', 'b.example'), by)).toMatchObject(refused)
    expect(got).toHaveLength(1)
  })

  it('does not wait for a DNS server longer than for anything else', async () => {
    const { address: dns, asked } = await startDns(() => undefined)
    const before = performance.now()
    const late = await Promise.all(
      Array.from({ length: 20 }, (_, nth) => send(`https://${nth}.example/`, sender({ timeout: 500, dns })))
    )
    for (const sent of late) expect(sent).toMatchObject({ why: 'it did not answer within 0.5 s' })
    expect(asked).toHaveLength(20)
    // What Node itself asks for has threads left.
    await promisify(lookup)('localhost')
    expect(performance.now() - before).toBeLessThan(4000)
  })

  it.each([
    ['is silent', () => undefined],
    [
      'says nothing but that it goes on',
      (socket: Socket) => {
        const timer = setInterval(() => socket.write('HTTP/1.1 102 Processing\r\n\r\n'), 10)
        socket.on('close', () => clearInterval(timer))
      }
    ],
    [
      'sends headers byte by byte',
      (socket: Socket) => {
        socket.write('HTTP/1.1 200 OK\r\nx: ')
        const timer = setInterval(() => socket.write('x'), 10)
        socket.on('close', () => clearInterval(timer))
      }
    ]
  ])('ends in time at a server that %s', async (_, talk) => {
    const { url, sockets } = await raw(talk)
    expect(await send(url, sender({ timeout: 300 }))).toMatchObject({
      how: 'failed',
      why: 'it did not answer within 0.3 s'
    })
    await expect.poll(() => sockets.size).toBe(0)
  })

  it('reads a few KiB of an endless answer, and none of it late', async () => {
    let written = 0
    const { url, sockets } = await raw((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
        const more = () => {
          while (!socket.destroyed && socket.write(`1000\r\n${'x'.repeat(4096)}\r\n`)) written += 4096
        }
        socket.on('drain', more)
        more()
      })
    })
    expect(await send(url)).toEqual({ how: 'delivered' })
    await expect.poll(() => sockets.size).toBe(0)
    // What the kernel's buffers take, which nobody reads.
    expect(written).toBeLessThan(32 * 2 ** 20)
    const slow = await raw((socket) => {
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx'))
    })
    expect(await send(slow.url)).toEqual({ how: 'delivered' })
    await expect.poll(() => slow.sockets.size).toBe(0)
  })

  it.each([
    ['that are too many', `${'x: y\r\n'.repeat(20_000)}\r\n`],
    ['that are none', 'nonsense\r\n\r\n']
  ])('is not delivered by headers %s', async (_, headers) => {
    const { url } = await raw((socket) => socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n${headers}`)))
    expect(await send(url)).toMatchObject({ how: 'failed', why: expect.stringMatching(/^\w+$/) as string })
  })

  it('says why in words that have nothing of its URL or its answer', async () => {
    const { url } = await raw((socket) => socket.destroy())
    const gone = (await send(`${url}secret?secret`)) as { why: string }
    expect(gone.why).toMatch(/^(UND_ERR_SOCKET|ECONNRESET)$/)
    const { address: dns } = await startDns(() => [])
    expect(await send('https://secret.invalid/secret', sender({ dns }))).toMatchObject({ why: 'ENOTFOUND' })
    expect(await send(url.replace('http:', 'https:'))).toMatchObject({ how: 'failed' })
  })

  it('goes over TLS to a server whose certificate is one of its name, signed by somebody known', async () => {
    const { key, cert, file } = await certificate()
    let got = 0
    const server = createHttps({ key, cert }, (_request, response) => {
      got += 1
      response.end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const { port } = server.address() as AddressInfo
    const { address: dns } = await startDns(() => ['127.0.0.1'])
    const localhost = `https://localhost:${port}/`
    expect(await send(localhost, sender({ dns }))).toMatchObject({ why: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
    // Node reads which others it trusts when it starts.
    const script = `
      import { WebhookSender } from './dist/webhooks/sender.js'
      import { parseNetworks } from './dist/webhooks/addresses.js'
      const sender = new WebhookSender({ networks: parseNetworks('127.0.0.0/8'), version: '0', timeout: 5000, dns: ['${dns}'] })
      for (const host of ['localhost', '127.0.0.1']) {
        const url = new URL('https://' + host + ':${port}/')
        const { how, why } = await sender.send({ id: '1', url, body: '{}', secrets: [Buffer.alloc(32)] }, new AbortController().signal)
        console.log(how, why ?? '')
      }`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      cwd: packageRoot,
      env: { NODE_EXTRA_CA_CERTS: file }
    })
    expect(stdout).toBe('delivered \nfailed ERR_TLS_CERT_ALTNAME_INVALID\n')
    expect(got).toBe(1)
  })

  it('ends when it is stopped', async () => {
    const { url, sockets } = await raw(() => undefined)
    const stop = new AbortController()
    const sending = send(url, sender(), stop.signal)
    await expect.poll(() => sockets.size).toBe(1)
    stop.abort()
    expect(await sending).toMatchObject({ how: 'failed' })
    await expect.poll(() => sockets.size).toBe(0)
  })
})
