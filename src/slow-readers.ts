import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** A client must read so many bytes of its answer within the time, or all that is left. */
export const LEAST_BYTES = 2 ** 20

/** How often a connection is looked at within the time. */
const LOOKS = 4

interface Reader {
  /** Bytes that the kernel had taken from us when the time began. */
  sent: number
  /** Looks since then at which something waited to be sent. */
  waiting: number
}

/**
 * Closes connections whose clients leave their answers unread, so that what the answers hold is free again.
 *
 * A client that reads less than `LEAST_BYTES` in `timeout` ms while more waits for it is cut off: 35 KB/s at 30 s. Looks
 * are counted and not clocks compared, so that a pause of this process is not taken for one of its clients.
 *
 * @param onCut is told of each client that is cut off
 */
export function cutSlowReaders(server: Server, timeout: number, onCut: (remote: string | undefined) => void): void {
  const readers = new Map<Socket, Reader>()
  server.on('connection', (socket) => {
    readers.set(socket, { sent: 0, waiting: 0 })
    socket.once('close', () => readers.delete(socket))
  })
  const look = setInterval(() => {
    for (const [socket, reader] of readers) {
      if (!stalls(socket, reader)) continue
      onCut(socket.remoteAddress)
      // Not end(): what waits to be sent would be kept until it is.
      socket.destroy()
    }
  }, timeout / LOOKS)
  look.unref()
  server.once('close', () => clearInterval(look))
}

function stalls(socket: Socket, reader: Reader): boolean {
  const sent = socket.bytesWritten - socket.writableLength
  if (socket.writableLength === 0 || sent - reader.sent >= LEAST_BYTES) {
    reader.sent = sent
    reader.waiting = 0
    return false
  }
  reader.waiting += 1
  return reader.waiting > LOOKS
}
