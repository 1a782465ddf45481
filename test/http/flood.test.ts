import { connect, type Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { alive, readyAddress, startProcess } from '../support/process.js'
import { metric, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const SMALL = '--sizes 64x64 --fake-step-ms 1 --fake-encode-ms 0 --fake-decode-ms 0'

/** Opens connections one after the other, each sending only `words`; resolves when all have connected. */
async function flood(url: string, count: number, words = ''): Promise<Socket[]> {
  const sockets: Socket[] = []
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  for (let i = 0; i < count; i++) {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.on('error', () => undefined)
    sockets.push(socket)
    await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))
    if (words !== '') socket.write(words)
  }
  return sockets
}

describe('a flood of connections', () => {
  it.each([
    ['that send nothing', ''],
    ['with half a request', 'POST /generate HTTP/1.1\r\nhost: x\r\ncontent-']
  ])('%s does not lock others out', async (_what, words) => {
    const server = await startReadyServer({ MAX_CONNECTIONS: '20' })
    const sockets = await flood(server.url, 60, words)
    await until(
      'the connections over the limit are closed',
      () => sockets.filter(({ destroyed, readableEnded }) => destroyed || readableEnded).length >= 40
    )
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
    expect(await metric(server, 'easel_connections_closed_total', 'reason="idle"')).toBeGreaterThanOrEqual(41)
    expect(await metric(server, 'easel_connections_closed_total', 'reason="full"')).toBe(0)
    expect(await metric(server, 'easel_connections', 'state="idle"')).toBeLessThanOrEqual(20)
    expect(await metric(server, 'easel_connections', 'state="busy"')).toBe(1)
    expect(await metric(server, 'easel_connections_limit')).toBe(20)
  })

  it('does not affect the probes on ADMIN_PORT', async () => {
    const server = await startReadyServer({ MAX_CONNECTIONS: '2', ADMIN_PORT: '0', WORKER_ARGS: '--fake-step-ms 10' })
    const address = await server.admin!.listen({ host: '127.0.0.1', port: 0 })
    const ask = () =>
      fetch(`${server.url}/generate`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"prompt":"x","num_inference_steps":100}'
      })
    const both = [ask(), ask()]
    await until('both connections have a running request', () => server.service.ledger.inFlight === 2)
    await expect(fetch(`${server.url}/health`)).rejects.toThrow()
    expect((await fetch(`${address}/health/live`)).status).toBe(200)
    expect((await Promise.all(both)).map(({ status }) => status)).toEqual([200, 200])
  })
})

describe('a burst of connections', () => {
  it('does not delay a later probe on ADMIN_PORT', async () => {
    const server = await startReadyServer({ ADMIN_PORT: '0' })
    const { port } = new URL(await server.admin!.listen({ host: '127.0.0.1', port: 0 }))
    let answered = 0
    const ask = (at: string) =>
      new Promise<number>((resolve) => {
        const socket = connect(Number(at), '127.0.0.1', () =>
          socket.write('GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
        )
        socket.resume().once('close', () => resolve(++answered))
      })
    const burst = Array.from({ length: 300 }, () => ask(new URL(server.url).port))
    const place = await ask(port)
    // On the same port the probe would come last, because each turn of the event loop accepts one connection.
    expect(place).toBeLessThan(150)
    await Promise.all(burst)
  })

  it('with simultaneous requests does not delay a later /health', async () => {
    const server = await startReadyServer()
    let answered = 0
    const keepOpen = async () => {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
      onTestFinished(() => void socket.destroy())
      await new Promise((resolve) => socket.once('connect', resolve))
      return (path: string) => {
        socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
        return new Promise<number>((resolve) => socket.once('data', () => resolve(++answered)))
      }
    }
    const askers = await Promise.all(Array.from({ length: 300 }, keepOpen))
    const askHealth = await keepOpen()
    await askHealth('/health')
    answered = 0
    const burst = askers.map((ask) => ask('/requests/nobody'))
    expect(await askHealth('/health')).toBeLessThan(150)
    await Promise.all(burst)
  })
})

describe('with 256 descriptors and 260 idle connections', () => {
  it('a dead worker is restarted and makes images', async () => {
    const gateway = startProcess(
      'dist/main.js',
      [],
      { ENGINE: 'fake', WORKER_ARGS: SMALL, RESTART_BACKOFF: '0.05' },
      { first: 'ulimit -n 256' }
    )
    const url = await readyAddress(gateway)
    await flood(url, 260)
    const first = await workerOf(url)
    process.kill(first!, 'SIGKILL')
    await until('the killed worker has ended', () => !alive(first!))
    await until('another worker is ready', async () => ![undefined, first].includes(await workerOf(url)))
    const answer = await fetch(`${url}/generate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"prompt":"x"}'
    })
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'image/png'])
    expect(gateway.output().match(/MAX_CONNECTIONS is 168 instead of 1024/g)).toHaveLength(1)
  }, 60_000)

  it("the page's process answers and reaches its gateway", async () => {
    const server = await startReadyServer()
    const web = startProcess('dist/webapp/main.js', [], { SERVER_URL: server.url }, { first: 'ulimit -n 256' })
    const address = /the page is on (http:\/\/[\d.]+:\d+)/
    await until("the page's process is ready", () => address.test(web.output()))
    const url = address.exec(web.output())![1]!
    await flood(url, 260)
    for (const path of ['/healthz', '/health', '/']) expect((await fetch(`${url}${path}`)).status).toBe(200)
  })

  it('a process left without any for connections exits and says to raise the limit', async () => {
    const web = startProcess('dist/webapp/main.js', [], { MAX_REQUESTS: '1000' }, { first: 'ulimit -n 256' })
    expect((await web.exit).code).toBe(1)
    expect(web.output()).toMatch(
      /^easel-web: cannot start: this process may open 256 descriptors, and needs \d+ besides those for connections: raise the limit \(ulimit -n\)\n$/
    )
  })
})

/** The pid of the first ready worker. */
async function workerOf(url: string): Promise<number | undefined> {
  const health = (await (await fetch(`${url}/health`)).json()) as { workers: { list: { pid: number }[] } }
  return health.workers.list[0]?.pid
}
