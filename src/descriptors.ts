import { readFileSync } from 'node:fs'

/**
 * The descriptor limit (files, sockets, pipes) of this process. Undefined outside Linux: Node has no API for it, so
 * it is read from /proc. Node raises the soft limit to the hard limit at start.
 */
export function descriptorLimit(file = '/proc/self/limits'): number | undefined {
  try {
    const [, soft] = /^Max open files +(\d+) /m.exec(readFileSync(file, 'utf8')) ?? []
    return soft === undefined ? undefined : Number(soft)
  } catch {
    return undefined
  }
}

/**
 * How many descriptors files may take: `wanted`, or a sixteenth of a low limit.
 *
 * @param descriptors of the process; undefined if unknown
 */
export function fileRoom(wanted: number, descriptors = descriptorLimit()): number {
  return Math.min(wanted, Math.max(1, Math.floor((descriptors ?? Infinity) / 16)))
}

export interface Room {
  /** MAX_CONNECTIONS */
  wanted: number
  /** Descriptor limit of the process; undefined if unknown. */
  descriptors: number | undefined
  /** Descriptors to keep for workers, files and other connections. */
  reserve: number
}

/**
 * The largest connection limit that leaves `reserve` descriptors, at most `wanted`.
 *
 * @throws Error when not even one connection is left
 */
export function connectionLimit({ wanted, descriptors, reserve }: Room): number {
  if (descriptors === undefined) return wanted
  const left = descriptors - reserve
  if (left < 1)
    throw new Error(
      `this process may open ${descriptors} descriptors, and needs ${reserve} besides those for connections: raise the limit (ulimit -n)`
    )
  return Math.min(wanted, left)
}

/** `connectionLimit` of this process. Logs a warning when it is less than `wanted`. */
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
      `MAX_CONNECTIONS is ${limit} instead of ${wanted}: this process may open ${descriptors} descriptors (ulimit -n), and ${reserve} are reserved for workers and files`
    )
  return limit
}
