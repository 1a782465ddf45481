import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Connections } from '../src/connections.js'
import { RawClient } from './http/raw-client.js'
import { until } from './support/wait.js'

const GET = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'

describe('connections within the limit', () => {
  it('stay open and are counted as idle or busy', async () => {
    const { connections, connect, responses } = await serve(3)
    const [first, second] = [await connect(), await connect()]
    await first.write(GET)
    await second.write('GET / HTTP/1.1\r\nhost:')
    await until('one connection is busy', () => connections.busy === 1)
    expect(connections.idle).toBe(1)
    responses[0]!.end('there')
    expect((await first.answer())?.status).toBe(200)
    await until('both connections are idle', () => connections.idle === 2)
    first.socket.destroy()
    second.socket.destroy()
    await until('no connection is left', () => connections.idle + connections.busy === 0)
    expect(connections.closed).toEqual({ idle: 0, full: 0 })
  })

  it('are busy until the last of several pipelined requests is answered', async () => {
    const { connections, connect, responses } = await serve(3)
    const client = await connect()
    await client.write(GET + GET)
    await until('both requests have arrived', () => responses.length === 2)
    expect([...connections.due(responses[0]!.socket!)]).toEqual(responses)
    responses[0]!.end()
    await client.answer()
    expect([connections.busy, connections.idle]).toEqual([1, 0])
    responses[1]!.end()
    await client.answer()
    await until('the connection is idle', () => connections.idle === 1)
    expect(connections.busy).toBe(0)
  })

  it('are forgotten when they close with answers pending', async () => {
    const { connections, connect, responses } = await serve(3)
    const client = await connect()
    await client.write(GET + GET)
    await until('both requests have arrived', () => responses.length === 2)
    client.socket.destroy()
    await until('no connection is busy', () => connections.busy === 0)
    // The second answer never had its turn. Its late 'close' must not bring the connection back.
    responses[1]!.emit('close')
    expect(connections.idle).toBe(0)
  })
})

describe('a connection beyond the limit', () => {
  it('replaces the one that has been idle longest', async () => {
    const { connections, connect, responses } = await serve(3)
    const busy = await connect()
    await busy.write(GET)
    await until('the connection is busy', () => connections.busy === 1)
    const kept = await connect()
    const silent = await connect()
    // A connection becomes idle when its request is answered.
    await kept.write(GET)
    await until('both connections are busy', () => connections.busy === 2)
    responses[1]!.end()
    await kept.answer()
    await until('two connections are idle', () => connections.idle === 2)
    const late = await connect()
    await silent.closed
    expect(connections.closed).toEqual({ idle: 1, full: 0 })
    for (const client of [kept, late]) await client.write(GET)
    await until('all connections are busy', () => connections.busy === 3)
  })

  it('is closed if all are busy, and accepted once one is idle', async () => {
    const { connections, connect, responses } = await serve(1)
    const busy = await connect()
    await busy.write(GET)
    await until('the connection is busy', () => connections.busy === 1)
    await (
      await connect()
    ).closed
    expect(connections.closed).toEqual({ idle: 0, full: 1 })
    responses[0]!.end('there')
    expect((await busy.answer())?.status).toBe(200)
    await until('the connection is idle', () => connections.idle === 1)
    await connect()
    await busy.closed
    expect([connections.idle, connections.closed.idle]).toEqual([1, 1])
  })
})

/** A server that leaves its pending responses in `responses`. */
async function serve(limit: number) {
  const responses: ServerResponse[] = []
  const server: Server = createServer((_request, response) => void responses.push(response))
  const connections = new Connections(limit)
  connections.watch(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  let opened = 0
  server.on('connection', () => opened++)
  /** Connects and waits until the server has accepted. */
  const connect = async () => {
    const before = opened
    const client = new RawClient({ url })
    await until('the client is connected', () => opened > before)
    return client
  }
  return { connections, connect, responses }
}
