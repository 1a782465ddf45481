import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** Bytes of its answer that a client must read within the timeout, unless less is left. */
export const LEAST_BYTES = 2 ** 20

/** How often each connection is checked within the timeout. */
const CHECKS = 4

interface Reader {
  /** Bytes that the kernel had taken when the timeout began. */
  sent: number
  /** Checks since then at which data was waiting to be sent. */
  waiting: number
}

/**
 * Closes connections whose clients do not read their answers, to free the memory of those answers.
 *
 * Disconnects a client that reads less than `LEAST_BYTES` in `timeout` ms (35 KB/s at 30 s) while more is waiting.
 * Counts checks instead of comparing clocks, so that a stall of this process is not blamed on its clients.
 *
 * @param onCut called for each client that is disconnected
 */
export function cutSlowReaders(server: Server, timeout: number, onCut: (remote: string | undefined) => void): void {
  const readers = new Map<Socket, Reader>()
  server.on('connection', (socket) => {
    readers.set(socket, { sent: 0, waiting: 0 })
    socket.once('close', () => readers.delete(socket))
  })
  const timer = setInterval(() => {
    for (const [socket, reader] of readers) {
      if (!stalls(socket, reader)) continue
      onCut(socket.remoteAddress)
      // end() would keep the unsent data.
      socket.destroy()
    }
  }, timeout / CHECKS)
  timer.unref()
  server.once('close', () => clearInterval(timer))
}

function stalls(socket: Socket, reader: Reader): boolean {
  const sent = socket.bytesWritten - socket.writableLength
  if (socket.writableLength === 0 || sent - reader.sent >= LEAST_BYTES) {
    reader.sent = sent
    reader.waiting = 0
    return false
  }
  reader.waiting += 1
  return reader.waiting > CHECKS
}
