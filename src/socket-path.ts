import { randomBytes } from 'node:crypto'
import { join } from 'node:path'

const NAME = /^easel-[0-9a-f]{12}\.sock$/

/**
 * A random, unused path for a socket. A process id would not be unique, because containers that share a temporary
 * folder have the same ones.
 */
export function freshSocketPath(folder: string): string {
  return join(folder, `easel-${randomBytes(6).toString('hex')}.sock`)
}

/** Whether a file name has the form that `freshSocketPath` makes. */
export function isFreshSocketName(name: string): boolean {
  return NAME.test(name)
}
