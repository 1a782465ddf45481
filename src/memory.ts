/** What the gateway holds memory for. Each is a label value of `easel_memory_bytes`. */
export const PARTS = ['uploads', 'inputs', 'pixels', 'states', 'files', 'answers', 'replays', 'jobs'] as const
export type Part = (typeof PARTS)[number]

/** Each pool has its own share, so uploads and kept answers can never take memory from running images. */
const POOLS = {
  /** Request bodies, without the pictures in them. */
  uploads: 1 / 8,
  /** Pictures that accepted requests start from, decoded. */
  inputs: 1 / 8,
  /** Finished answers kept for retries, and durable jobs that this process keeps. */
  replays: 1 / 8,
  /** Pixels, states of unfinished images, files and answers being read. */
  images: 5 / 8
} as const
type Pool = keyof typeof POOLS

const POOL_OF: Readonly<Record<Part, Pool>> = {
  uploads: 'uploads',
  inputs: 'inputs',
  pixels: 'images',
  states: 'images',
  files: 'images',
  answers: 'images',
  replays: 'replays',
  jobs: 'replays'
}

/** Accounted bytes. They count until `release`. */
export interface Hold {
  /** Changes the number of bytes. Never refuses, because the bytes already exist. */
  resize: (bytes: number) => void
  /** Changes the number of bytes, unless more do not fit. */
  tryResize: (bytes: number) => boolean
  /** Frees the bytes for good: `resize` then does nothing. */
  release: () => void
}

/**
 * Accounts for all memory that clients can make the gateway hold, by purpose.
 *
 * It counts and refuses but allocates nothing. It does not count code, tokenizers, uncollected garbage or
 * fragmentation, so its limit must be only a part of the process's memory (docs/capacity.md).
 */
export class MemoryBudget {
  readonly #limit: number
  readonly #used = Object.fromEntries(PARTS.map((part) => [part, 0])) as Record<Part, number>
  readonly #listeners: (() => void)[] = []
  #telling = false

  /** @param limit total bytes */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Total bytes. */
  get limit(): number {
    return this.#limit
  }

  /** Bytes held for a part. */
  used(part: Part): number {
    return this.#used[part]
  }

  /** Most bytes that a part may hold while the other parts of its pool are empty. */
  most(part: Part): number {
    return Math.floor(this.#limit * POOLS[POOL_OF[part]])
  }

  /** Bytes still free for a part. */
  room(part: Part): number {
    const pool = POOL_OF[part]
    const used = PARTS.reduce((sum, each) => (POOL_OF[each] === pool ? sum + this.#used[each] : sum), 0)
    return this.most(part) - used
  }

  /** Holds bytes, or returns undefined if they do not fit. */
  tryHold(part: Part, bytes: number): Hold | undefined {
    return bytes <= this.room(part) ? this.hold(part, bytes) : undefined
  }

  /** Holds bytes that already exist, even beyond the limit. */
  hold(part: Part, bytes: number): Hold {
    let held = 0
    let released = false
    const resize = (to: number) => {
      if (released) return
      this.#used[part] += to - held
      const less = to < held
      held = to
      if (less) this.#tell()
    }
    resize(bytes)
    const release = () => {
      resize(0)
      released = true
    }
    const tryResize = (to: number) => {
      if (to - held > this.room(part)) return false
      resize(to)
      return true
    }
    return { resize, tryResize, release }
  }

  /** Calls `listener` soon after bytes were released. */
  onRoom(listener: () => void): void {
    this.#listeners.push(listener)
  }

  #tell(): void {
    if (this.#telling || this.#listeners.length === 0) return
    this.#telling = true
    // Deferred: the code that released the bytes must finish first.
    setImmediate(() => {
      this.#telling = false
      for (const listener of this.#listeners) listener()
    })
  }
}

/** Memory of an idle gateway (Node, packages, two tokenizers), in bytes. Measured: 110 MiB. */
const BASE_BYTES = 160 * 2 ** 20
/** Default maximum. More would only let clients leave more answers unread. */
const MOST_BY_DEFAULT = 2 * 2 ** 30
const LEAST_BY_DEFAULT = 64 * 2 ** 20

/**
 * The default budget: half of `available` without BASE_BYTES, within the limits above. The other half is for
 * uncollected garbage, the encoders and fragmentation.
 *
 * @param available bytes that the container or machine has for this process
 */
export function budgetWithin(available: number): number {
  return Math.floor(Math.min(MOST_BY_DEFAULT, Math.max(LEAST_BY_DEFAULT, (available - BASE_BYTES) / 2)))
}
