import { createServer, get, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { expect, it, onTestFinished } from 'vitest'
import { cutSlowReaders, LEAST_BYTES } from '../src/slow-readers.js'
import { until } from './support/wait.js'

const SLICE = Buffer.alloc(64 * 1024)

/** Serves answers of `slices` slices, sent no faster than the client reads, and counts disconnected clients. */
async function serve(slices: number, timeout: number): Promise<{ url: string; cut: () => number }> {
  let cut = 0
  const server: Server = createServer(
    (_request, response) =>
      void Readable.from(
        Array.from({ length: slices }, () => SLICE),
        { objectMode: false }
      ).pipe(response)
  )
  cutSlowReaders(server, timeout, () => (cut += 1))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, cut: () => cut }
}

it('disconnects a client that does not read its answer', async () => {
  const { url, cut } = await serve(1000, 100)
  const request = get(url)
  const [response] = await once(request, 'response')
  const closed = once((response as { socket: Socket }).socket, 'close')
  // Unread bytes keep the client from noticing the end, so check the server's count.
  await until('the slow reader is disconnected', () => cut() === 1)
  response.on('error', () => undefined)
  response.resume()
  await closed
})

it('does not disconnect a client that reads slowly but enough', async () => {
  const slices = 400
  const { url, cut } = await serve(slices, 400)
  const [response] = await once(get(url), 'response')
  let read = 0
  // Read slightly more than the minimum in each quarter of the timeout.
  for await (const chunk of response) {
    const before = read
    read += (chunk as Buffer).length
    if (Math.floor(before / LEAST_BYTES) !== Math.floor(read / LEAST_BYTES))
      await new Promise((resolve) => setTimeout(resolve, 50))
  }
  expect(read).toBe(slices * SLICE.length)
  expect(cut()).toBe(0)
})

it('does not disconnect a client that waits for its answer', async () => {
  const server = createServer((_request, response) => void setTimeout(() => response.end('late'), 500))
  let cut = 0
  cutSlowReaders(server, 100, () => (cut += 1))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  expect(await answer.text()).toBe('late')
  expect(cut).toBe(0)
})
