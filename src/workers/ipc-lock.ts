import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Thrown when another process holds the lock. */
export class LockHeld extends Error {}

/**
 * Locks a path until released or until this process ends. The kernel releases the lock even after kill -9.
 *
 * The lock is a Linux abstract Unix socket, whose name only one process per network namespace can bind. It does not
 * exclude processes in other namespaces (containers that share a folder), and does nothing on other systems.
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
  // Nothing ever needs to connect, so failing to accept is harmless.
  server.on('error', () => undefined)
  server.unref()
  return () => new Promise((resolve) => server.close(() => resolve()))
}
