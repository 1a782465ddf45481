import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Thrown when another process holds the lock. */
export class LockHeld extends Error {}

/**
 * Locks a path for as long as this process lives; the kernel releases the lock at any end, kill -9 included.
 *
 * On Linux the lock is an abstract Unix socket, whose name only one process of a network namespace can bind. Processes
 * of different namespaces (containers that share a folder), and those of other systems, are not kept apart by it.
 *
 * @param path absolute and without symbolic links
 * @returns releases the lock
 * @throws LockHeld
 */
export async function lockPath(path: string): Promise<() => Promise<void>> {
  if (process.platform !== 'linux') return async () => undefined
  const server = createServer((peer) => peer.destroy())
  server.listen({ path: `\0easel-${createHash('sha256').update(path).digest('hex')}` })
  try {
    await once(server, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE')
      throw new LockHeld(`${path} is locked by another process`)
    throw error
  }
  // Nobody has to connect to it: a connection that cannot be accepted is no loss.
  server.on('error', () => undefined)
  server.unref()
  return () => new Promise((resolve) => server.close(() => resolve()))
}
