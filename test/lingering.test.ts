import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { expect, it } from 'vitest'
import { inTurns } from '../src/lingering.js'
import { countTurns } from './support/turns.js'

it('discards one chunk of all unwanted bodies per turn of the event loop', async () => {
  const [BODIES, CHUNKS] = [10, 20]
  const bodies = Array.from(
    { length: BODIES },
    () =>
      Readable.from(
        Array.from({ length: CHUNKS }, () => Buffer.alloc(64 * 1024)),
        { objectMode: false }
      ) as unknown as IncomingMessage
  )
  const counted = countTurns()
  const drop = inTurns()
  const ends = bodies.map((body) => new Promise((resolve) => body.once('end', resolve)))
  for (const body of bodies) drop(body)
  await Promise.all(ends)
  counted.stop()
  expect(counted.turns).toBeGreaterThanOrEqual(BODIES * (CHUNKS - 1))
})
