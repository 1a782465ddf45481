import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { expect, it } from 'vitest'
import { boundedBody } from '../src/bounded-body.js'
import { countTurns } from './support/turns.js'

it('reads one chunk per turn of the event loop, so that other clients are served in between', async () => {
  const chunks = Array.from({ length: 50 }, () => Buffer.alloc(64 * 1024))
  const request = Object.assign(Readable.from(chunks, { objectMode: false }), {
    headers: {},
    complete: true
  }) as unknown as IncomingMessage
  const counted = countTurns()
  let bytes = 0
  for await (const chunk of boundedBody(request, 2 ** 30)) bytes += (chunk as Buffer).length
  counted.stop()
  expect(bytes).toBe(chunks.length * 64 * 1024)
  expect(counted.turns).toBeGreaterThanOrEqual(chunks.length)
})
