/** What the gateway holds memory for; each is a label of `easel_memory_bytes`. */
export const PARTS = ['uploads', 'pixels', 'files', 'answers', 'replays'] as const
export type Part = (typeof PARTS)[number]

/** Parts share pools, so that what clients send or may ask for again never takes the room of the images being made. */
const POOLS = {
  /** Request bodies: an eighth. */
  uploads: 1 / 8,
  /** Finished answers kept for retries: a quarter. */
  replays: 1 / 4,
  /** Pixels, files and answers: the rest. */
  images: 5 / 8
} as const
type Pool = keyof typeof POOLS

const POOL_OF: Readonly<Record<Part, Pool>> = {
  uploads: 'uploads',
  pixels: 'images',
  files: 'images',
  answers: 'images',
  replays: 'replays'
}

/** Bytes that somebody holds. They count until `release`. */
export interface Hold {
  /** Holds another number of bytes from now on, whether or not there is room for it: they are there already. */
  resize: (bytes: number) => void
  release: () => void
}

/**
 * The one account of what clients can make the gateway hold: bytes that depend on requests, by what they are for.
 *
 * It counts and refuses; it allocates nothing. What it does not count (code, tokenizers, garbage that waits to be
 * collected, the allocator's gaps) is why it is given no more than part of the process's memory (docs/capacity.md).
 */
export class MemoryBudget {
  readonly #limit: number
  readonly #used: Record<Part, number> = { uploads: 0, pixels: 0, files: 0, answers: 0, replays: 0 }
  readonly #listeners: (() => void)[] = []
  #telling = false

  /** @param limit bytes in all */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Bytes in all. */
  get limit(): number {
    return this.#limit
  }

  /** Bytes that are held for a part. */
  used(part: Part): number {
    return this.#used[part]
  }

  /** Most bytes that a part may hold, if no other part of its pool holds any. */
  most(part: Part): number {
    return Math.floor(this.#limit * POOLS[POOL_OF[part]])
  }

  /** Bytes that a part may still take. */
  room(part: Part): number {
    const pool = POOL_OF[part]
    const used = PARTS.reduce((sum, each) => (POOL_OF[each] === pool ? sum + this.#used[each] : sum), 0)
    return this.most(part) - used
  }

  /** Holds bytes, or undefined where there is no room for them. */
  tryHold(part: Part, bytes: number): Hold | undefined {
    return bytes <= this.room(part) ? this.hold(part, bytes) : undefined
  }

  /** Holds bytes that are there whether or not there is room for them. */
  hold(part: Part, bytes: number): Hold {
    let held = 0
    const resize = (to: number) => {
      this.#used[part] += to - held
      const less = to < held
      held = to
      if (less) this.#tell()
    }
    resize(bytes)
    return { resize, release: () => resize(0) }
  }

  /** Calls `listener` soon after bytes were given back. */
  onRoom(listener: () => void): void {
    this.#listeners.push(listener)
  }

  #tell(): void {
    if (this.#telling || this.#listeners.length === 0) return
    this.#telling = true
    // Not at once: whoever gives bytes back is in the middle of something.
    setImmediate(() => {
      this.#telling = false
      for (const listener of this.#listeners) listener()
    })
  }
}

/** Bytes that the gateway needs before its first request: Node, the packages, two tokenizers. Measured: 110 MiB. */
const BASE_BYTES = 160 * 2 ** 20
/** A budget that no machine is too large for: more would only let clients leave more unread. */
const MOST_BY_DEFAULT = 2 * 2 ** 30
const LEAST_BY_DEFAULT = 64 * 2 ** 20

/**
 * The budget of a process that may use so much memory: half of what its start leaves. The other half is for what is
 * freed and not yet collected, for the encoders, and for gaps between allocations.
 *
 * @param available bytes that the container or machine has for this process
 */
export function budgetWithin(available: number): number {
  return Math.floor(Math.min(MOST_BY_DEFAULT, Math.max(LEAST_BY_DEFAULT, (available - BASE_BYTES) / 2)))
}
