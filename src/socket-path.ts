import { randomBytes } from 'node:crypto'
import { join } from 'node:path'

const NAME = /^easel-[0-9a-f]{12}\.sock$/

/**
 * A path for a socket that nobody has. It is random and no process id: containers that share a temporary folder have the
 * same process ids.
 */
export function freshSocketPath(folder: string): string {
  return join(folder, `easel-${randomBytes(6).toString('hex')}.sock`)
}

/** Whether a file's name is one that `freshSocketPath` gives. */
export function isFreshSocketName(name: string): boolean {
  return NAME.test(name)
}
