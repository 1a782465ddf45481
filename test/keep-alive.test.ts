import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../src/gateway-options.js'
import { loadWebOptions } from '../src/webapp/web-options.js'
import { startProcess } from './support/process.js'
import { startServer } from './support/server.js'
import { until } from './support/wait.js'

/** How long a Google load balancer keeps an idle backend connection, in seconds. It is not configurable. */
const GOOGLE_KEEPS_S = 600

/** A connection that has sent one request and read the whole answer. */
async function askOnce(address: string, path: string): Promise<Asked> {
  const { hostname, port } = new URL(address)
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  const asked: Asked = {
    socket,
    closed: false,
    read: '',
    ask: () => void socket.write(`GET ${path} HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`)
  }
  socket.on('data', (chunk) => (asked.read += chunk))
  socket.on('error', () => undefined)
  void once(socket, 'close').then(() => (asked.closed = true))
  asked.ask()
  await until('the first answer has arrived', () => answers(asked) === 1)
  return asked
}

interface Asked {
  socket: Socket
  closed: boolean
  read: string
  /** Sends another request on the same connection. */
  ask: () => void
}

function answers({ read }: Asked): number {
  return read.match(/HTTP\/1\.1 200 /g)?.length ?? 0
}

/** Two addresses: one with a very short keep-alive timeout, one with a minute. */
type Pair = [short: string, long: string, path: string]

async function gateways(): Promise<Pair> {
  const [short, long] = await Promise.all(['0.2', '60'].map((timeout) => startServer({ KEEP_ALIVE_TIMEOUT: timeout })))
  return [short!.url, long!.url, '/health/live']
}

async function probes(): Promise<Pair> {
  const pair = await Promise.all(
    ['0.2', '60'].map(async (timeout) =>
      (await startServer({ KEEP_ALIVE_TIMEOUT: timeout, ADMIN_PORT: '0' })).admin!.listen({
        host: '127.0.0.1',
        port: 0
      })
    )
  )
  return [pair[0]!, pair[1]!, '/metrics']
}

async function pages(): Promise<Pair> {
  const address = /the page is on (http:\/\/[\d.]+:\d+)/
  const pair = ['0.2', '60'].map((timeout) => startProcess('dist/webapp/main.js', [], { KEEP_ALIVE_TIMEOUT: timeout }))
  await until('both servers are ready', () => pair.every((web) => address.test(web.output())))
  const [short = '', long = ''] = pair.map((web) => address.exec(web.output())?.[1] ?? '')
  return [short, long, '/healthz']
}

describe('KEEP_ALIVE_TIMEOUT', () => {
  it.each([
    ['gateway', gateways],
    ["gateway's port for probes", probes],
    ['page', pages]
  ])('%s: closes a connection that was idle longer and keeps one that was not', async (_, start) => {
    const [short, long, path] = await start()
    const kept = await askOnce(long, path)
    const closed = await askOnce(short, path)
    await until('the server with the short timeout closes the connection', () => closed.closed)
    // Both were idle for the same time.
    expect(kept.closed).toBe(false)
    kept.ask()
    await until('the second answer has arrived', () => answers(kept) === 2)
    expect(kept.read).toMatch(/^keep-alive: timeout=60\r$/im)
  })

  it.each([
    ['gateway', loadOptions([], {})],
    ['page', loadWebOptions([], {})]
  ])('%s: by default exceeds the idle timeout of Google load balancers', (_, { keepAliveTimeout }) => {
    expect(keepAliveTimeout).toBeGreaterThan(GOOGLE_KEEPS_S)
  })
})

describe('CONNECTION_MAX_AGE', () => {
  const PATH = '/health/live'
  const ages = async () =>
    Promise.all(['0.05', '600'].map(async (age) => (await startServer({ CONNECTION_MAX_AGE: age })).url))

  it('ends an old connection with its next answer, and keeps a young one', async () => {
    const [short, long] = await ages()
    const old = await askOnce(short!, PATH)
    const young = await askOnce(long!, PATH)
    // Each answer may be the last: the connection's time runs from its beginning.
    while (!/^connection: close\r$/im.test(old.read)) {
      const before = answers(old)
      old.ask()
      await until('it is answered', () => answers(old) > before)
    }
    await until('the old connection is closed', () => old.closed)
    young.ask()
    await until('the young one is answered', () => answers(young) === 2)
    expect(young.read).not.toMatch(/^connection: close\r$/im)
    expect(young.closed).toBe(false)
  })

  it('answers requests that were pipelined before it ends', async () => {
    const { url } = await startServer({ CONNECTION_MAX_AGE: '0.05' })
    const old = await askOnce(url, PATH)
    const { hostname } = new URL(url)
    const request = `GET ${PATH} HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`
    while (!old.closed) {
      const before = answers(old)
      if (/^connection: close\r$/im.test(old.read)) break
      old.socket.write(request.repeat(3))
      await until('all are answered', () => answers(old) === before + 3)
    }
  })
})
