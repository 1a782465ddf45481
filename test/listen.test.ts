import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { expect, it, onTestFinished } from 'vitest'
import { Connections } from '../src/connections.js'
import { addressesOf, listen } from '../src/listen.js'
import { createBase } from '../src/plugins/base.js'
import { RawClient } from './http/raw-client.js'
import { until } from './support/wait.js'

it('every address shares the connection limit and the error format until the application closes', async () => {
  const connections = new Connections(3)
  const app = await createBase({
    log: pino({ level: 'silent' }),
    bodyLimit: 1024,
    receiveTimeout: 30_000,
    keepAliveTimeout: 30_000,
    connectionMaxAge: 60_000,
    sendTimeout: 30_000,
    logPrompts: false,
    connections
  })
  app.get('/', async () => 'there')
  const said: string[] = []
  await listen(app, {
    addresses: ['127.0.0.1', '127.0.0.2'],
    port: 0,
    listenTextResolver(address) {
      said.push(address)
      return address
    }
  })
  onTestFinished(() => app.close())
  const { port } = app.server.address() as AddressInfo
  expect(said).toEqual([`http://127.0.0.1:${port}`, `http://127.0.0.2:${port}`])

  const silent = ['127.0.0.1', '127.0.0.2', '127.0.0.2', '127.0.0.2'].map(
    (host) => new RawClient({ url: `http://${host}:${port}` })
  )
  await until('one idle connection is closed', () => connections.closed.idle === 1)
  expect(connections.idle).toBe(3)
  const client = new RawClient({ url: `http://127.0.0.2:${port}` })
  await client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  expect((await client.answer())?.status).toBe(200)
  await client.write('hello\r\n\r\n')
  const refusal = await client.answer()
  expect(refusal).toMatchObject({ status: 400, headers: { 'x-request-id': expect.stringMatching(/./) } })
  await client.closed

  for (const each of silent) each.socket.destroy()
  await until('the idle connections are closed', () => connections.idle === 0)
  await app.close()
  for (const { url } of [{ url: `http://127.0.0.1:${port}` }, { url: `http://127.0.0.2:${port}` }])
    await expect(fetch(url)).rejects.toThrow()
})

it('skips an address in use, but fails if it is the first', async () => {
  const open = async (addresses: string[], port: number) => {
    const app = await createBase({
      log: pino({ level: 'silent' }),
      bodyLimit: 1024,
      receiveTimeout: 30_000,
      keepAliveTimeout: 30_000,
      connectionMaxAge: 60_000,
      sendTimeout: 30_000,
      logPrompts: false,
      connections: new Connections(3)
    })
    onTestFinished(() => app.close())
    await listen(app, { addresses, port, listenTextResolver: String })
    return (app.server.address() as AddressInfo).port
  }
  const port = await open(['127.0.0.2'], 0)
  expect(await open(['127.0.0.1', '127.0.0.2'], port)).toBe(port)
  await expect(open(['127.0.0.2'], port)).rejects.toThrow('EADDRINUSE')
})

it('localhost is every address that it resolves to, each once', async () => {
  const addresses = await addressesOf('localhost')
  expect(addresses.length).toBeGreaterThan(0)
  expect(new Set(addresses).size).toBe(addresses.length)
  expect(await addressesOf('0.0.0.0')).toEqual(['0.0.0.0'])
})
