import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Turns } from './turns.js'

/** How long a client may keep sending its body after an early answer, in ms. */
const LINGER_MS = 2000

/**
 * Lets a client read an answer that is sent before its request is complete, such as a 413.
 *
 * Node closes such a connection right after the answer. If more bytes arrive, the kernel resets the connection, and the
 * client may see the reset before the answer. So close only the writing side, and keep reading for LINGER_MS.
 */
export function lingerAfterEarlyAnswers(server: Server): void {
  const latest = new WeakMap<Socket, IncomingMessage>()
  const drop = inTurns()
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    latest.set(request.socket, request)
    // Run before Node's own listener, which would read the rest as fast as it arrives.
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
 * Reads and discards unwanted bodies: one chunk of one body per turn of the event loop. Reading hundreds of refused
 * bodies at full speed would block the event loop.
 *
 * @returns discards the rest of an incomplete body
 */
export function inTurns(): (body: IncomingMessage) => void {
  const turns = new Turns(1)
  return (body) => {
    body.on('data', () => {
      body.pause()
      turns.run(() => body.resume())
    })
    // Marks the body as consumed, or Node would read and discard it at full speed.
    body.read(0)
    body.resume()
  }
}
