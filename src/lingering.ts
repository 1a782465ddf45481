import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Turns } from './turns.js'

/** How long a client may go on sending a body that nobody wants, after its answer, in ms. */
const LINGER_MS = 2000

/**
 * Lets clients read an answer that comes before they have sent their whole request, such as a 413.
 *
 * Node closes such a connection as soon as the answer is sent. Bytes that still come then make the kernel reset the
 * connection, and the reset can overtake the answer. Here the connection is closed for writing, and read for a little longer.
 */
export function lingerAfterEarlyAnswers(server: Server): void {
  const latest = new WeakMap<Socket, IncomingMessage>()
  const drop = inTurns()
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    latest.set(request.socket, request)
    // Before Node's own listener, which reads the rest as fast as it comes.
    response.prependListener('finish', () => {
      if (!request.complete) drop(request)
    })
  })
  server.on('connection', (socket: Socket) => {
    const destroySoon = socket.destroySoon.bind(socket)
    socket.destroySoon = () => {
      const request = latest.get(socket)
      if (request === undefined || request.complete) return destroySoon()
      request.once('end', destroySoon)
      const timer = setTimeout(() => socket.destroy(), LINGER_MS)
      socket.once('close', () => clearTimeout(timer))
      socket.end()
    }
  })
}

/**
 * Reads bodies that nobody wants, and drops them: a chunk of one of them in each turn of the event loop. Of hundreds that
 * are refused at once, all that they send would make a turn as long as it takes to copy it.
 *
 * @returns takes a body of which the end is still to come
 */
export function inTurns(): (body: IncomingMessage) => void {
  const turns = new Turns(1)
  return (body) => {
    body.on('data', () => {
      body.pause()
      turns.run(() => body.resume())
    })
    // From here on Node takes it for one that somebody reads.
    body.read(0)
    body.resume()
  }
}
