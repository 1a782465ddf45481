import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'

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
  server.prependListener('request', (request: IncomingMessage) => void latest.set(request.socket, request))
  server.on('connection', (socket: Socket) => {
    const destroySoon = socket.destroySoon.bind(socket)
    socket.destroySoon = () => {
      const request = latest.get(socket)
      if (request === undefined || request.complete) return destroySoon()
      // Node reads what is left of a request itself only where nobody has begun to.
      request.once('end', destroySoon).resume()
      const timer = setTimeout(() => socket.destroy(), LINGER_MS)
      socket.once('close', () => clearTimeout(timer))
      socket.end()
    }
  })
}
