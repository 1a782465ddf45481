import { readFileSync } from 'node:fs'

/**
 * How many descriptors (files, sockets, pipes) this process may have open; undefined where that cannot be read: only Linux has a
 * file that says so, and Node has no call for it. Node raises the soft limit to the hard one when it starts.
 */
export function descriptorLimit(file = '/proc/self/limits'): number | undefined {
  try {
    const [, soft] = /^Max open files +(\d+) /m.exec(readFileSync(file, 'utf8')) ?? []
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined
  }
}

export interface Room {
  /** MAX_CONNECTIONS */
  wanted: number
  /** Descriptors that the process may have; undefined when unknown. */
  descriptors: number | undefined
  /** Descriptors that are kept for all else: workers, files, connections of its own. */
  reserve: number
}

/**
 * Most connections that leave `reserve` descriptors.
 *
 * @throws Error when none is left
 */
export function connectionLimit({ wanted, descriptors, reserve }: Room): number {
  if (descriptors === undefined) return wanted
  const left = descriptors - reserve
  if (left < 1)
    throw new Error(
      `this process may open ${descriptors} descriptors, and needs ${reserve} beside those of connections: raise the limit (ulimit -n)`
    )
  return Math.min(wanted, left)
}

/** `connectionLimit` of this process, with a warning when it is less than what was wanted. */
export function connectionRoom(
  wanted: number,
  reserve: number,
  log: { warn: (fields: object, line: string) => void }
): number {
  const descriptors = descriptorLimit()
  const limit = connectionLimit({ wanted, descriptors, reserve })
  if (limit < wanted)
    log.warn(
      { wanted, limit, descriptors, reserve },
      `MAX_CONNECTIONS is ${limit} instead of ${wanted}: this process may open ${descriptors} descriptors (ulimit -n), and ${reserve} are kept for workers and files`
    )
  return limit
}
