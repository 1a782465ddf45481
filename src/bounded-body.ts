import type { IncomingMessage } from 'node:http'
import { type Readable, Transform } from 'node:stream'
import { EaselError } from './errors.js'

/**
 * Streams a request's body. The stream fails as soon as the body exceeds `limit` bytes.
 *
 * @throws EaselError BODY_TOO_LARGE at once when Content-Length exceeds the limit
 */
export function boundedBody(request: IncomingMessage, limit: number): Readable {
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit)
  let bytes = 0
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      if (bytes > limit) done(tooLarge(limit))
      // One chunk per turn of the event loop. libuv reads while there is data, which would starve other clients.
      else setImmediate(done, null, chunk)
    }
  })
  // Destroy only the stream: the request still needs an answer.
  request.once('close', () => {
    if (!request.complete) counted.destroy()
  })
  // After an early answer, keep reading and discard the rest: the next request follows it on the connection.
  counted.once('close', () => request.unpipe(counted).resume())
  request.pipe(counted)
  return counted
}

/** Reads a body. @throws EaselError CANCELLED if the client disconnects while it sends it */
export async function unlessGone<T>(payload: IncomingMessage, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    const left = payload.destroyed && !payload.complete
    throw left && !(error instanceof EaselError)
      ? new EaselError('CANCELLED', 'the client disconnected while sending the body', { cause: error })
      : error
  }
}

/** Reads a body of at most `limit` bytes. @throws EaselError BODY_TOO_LARGE, CANCELLED; what `read` throws */
export async function readBounded<T>(
  payload: IncomingMessage,
  limit: number,
  read: (body: Readable) => Promise<T>
): Promise<T> {
  const body = boundedBody(payload, limit)
  try {
    return await unlessGone(payload, () => read(body))
  } finally {
    body.destroy()
  }
}

function tooLarge(limit: number): EaselError {
  return new EaselError('BODY_TOO_LARGE', `The body must be at most ${limit} bytes`)
}
