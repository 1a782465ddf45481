import type { IncomingMessage } from 'node:http'
import { type Readable, Transform } from 'node:stream'
import { EaselError } from './errors.js'

/**
 * A request's body as it comes, in a stream that fails as soon as there is more than `limit` bytes of it.
 *
 * @throws EaselError BODY_TOO_LARGE at once when the request says that it is over the limit
 */
export function boundedBody(request: IncomingMessage, limit: number): Readable {
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit)
  let bytes = 0
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      if (bytes > limit) done(tooLarge(limit))
      // One chunk a turn of the event loop: libuv reads as long as there is something to read, and meanwhile nobody else is served.
      else setImmediate(done, null, chunk)
    }
  })
  // Not the request: it still has to be answered.
  request.once('close', () => {
    if (!request.complete) counted.destroy()
  })
  // What comes after an early answer is read all the same, and dropped: behind it is the next request.
  counted.once('close', () => request.unpipe(counted).resume())
  request.pipe(counted)
  return counted
}

function tooLarge(limit: number): EaselError {
  return new EaselError('BODY_TOO_LARGE', `The body may have ${limit} bytes`)
}
