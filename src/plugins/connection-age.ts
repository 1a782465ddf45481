import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import type { Connections } from '../connections.js'

export interface ConnectionAge {
  connections: Connections
  /** ms after which a connection ends with its next answer */
  connectionMaxAge: number
}

/** Connections that opened together should not all end together: up to this share of their time earlier. */
const SPREAD = 0.2

/**
 * Ends a connection with the first answer after its time, by `Connection: close`, so that clients and load balancers
 * connect again, and reach Pods that came later. A client that keeps its connection busy would otherwise never do so.
 */
export const connectionAgePlugin = fp<ConnectionAge>(
  async (app, { connections, connectionMaxAge }) => {
    /** When each connection has had its time, in ms. */
    const ends = new WeakMap<Socket, number>()
    app.server.on('connection', (socket: Socket) => {
      ends.set(socket, performance.now() + connectionMaxAge * (1 - SPREAD * Math.random()))
    })
    app.addHook('onSend', async ({ raw: { socket } }, { raw }) => {
      if (performance.now() < (ends.get(socket) ?? Infinity)) return
      // Pipelined requests that have come already would get no answer.
      const latest = [...connections.due(socket)].at(-1)
      if (latest === undefined || latest === raw) raw.shouldKeepAlive = false
    })
  },
  { name: 'connection-age' }
)
