import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

interface Mark {
  request: FastifyRequest
  /** Bytes that the kernel had taken when last there was progress. */
  taken: number
  /** When that was. */
  at: number
}

/**
 * Cuts the connection of a client that takes nothing of its answer for `timeout` ms, so that nobody holds memory, files or other
 * connections by not reading. An answer that has nothing to say for a while is not cut: only bytes that wait count.
 */
export const writeDeadlinePlugin = fp<{ timeout: number }>(async (app, { timeout }) => {
  const open = new Map<ServerResponse, Mark>()

  app.addHook('onRequest', async (request, { raw }) => {
    open.set(raw, { request, taken: 0, at: performance.now() })
    raw.once('close', () => open.delete(raw))
  })

  const sweep = setInterval(() => {
    const now = performance.now()
    for (const [response, mark] of open) {
      const { socket } = response
      // One that waits for its turn on a pipelined connection has none.
      const taken = socket === null ? 0 : takenOf(socket)
      if (socket === null || socket.writableLength === 0 || taken !== mark.taken) Object.assign(mark, { taken, at: now })
      else if (now - mark.at >= timeout) {
        mark.request.log.info({ waiting: socket.writableLength }, `cut: the client took nothing of its answer for ${timeout / 1000} s`)
        socket.destroy()
      }
    }
  }, Math.ceil(timeout / 4))
  sweep.unref()
  app.addHook('onClose', async () => clearInterval(sweep))
}, { name: 'write-deadline' })

/** Bytes whose writing has ended: those that were ever written to the socket, less those that still wait. */
function takenOf(socket: Socket): number {
  return socket.bytesWritten - socket.writableLength
}
