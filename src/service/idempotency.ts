import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { stringify } from 'safe-stable-stringify'
import { EaselError, type ErrorCode } from '../errors.js'
import type { Run } from './run.js'
import { scoped } from './scoped.js'

export interface IdempotencyOptions {
  /** How long a finished answer is kept, in ms. */
  ttl: number
  /** Most bytes of finished answers kept. */
  maxBytes: number
}

/** The Idempotency-Key of a request. */
export interface RequestKey {
  /** The caller. The same key from different callers names different requests. */
  readonly scope: string
  readonly key: string
  /** `fingerprintOf` the body. */
  readonly fingerprint: string
}

interface Entry {
  readonly fingerprint: string
  readonly run: Run
}

/** Approximate size of an answer without its images, in bytes. */
const ENTRY_BYTES = 2048

/** Errors that say nothing about the request itself, so the same key may run it again. */
export const TRANSIENT: ReadonlySet<ErrorCode> = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'DRAINING', 'INTERNAL'])

/**
 * Maps idempotency keys to runs: a retry joins the run while it lasts, and gets its answer afterwards.
 *
 * Running requests are always kept (the queue limit bounds them). Ended ones are kept for `ttl` ms, within `maxBytes`.
 * Nothing outlives the process.
 *
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
 */
export class IdempotencyStore {
  readonly #running = new Map<string, Entry>()
  readonly #ended: LRUCache<string, Entry & { bytes: number; letGo: () => void }>

  constructor({ ttl, maxBytes }: IdempotencyOptions) {
    this.#ended = new LRUCache({
      ttl,
      ttlAutopurge: true,
      perf: { now: () => performance.now() },
      maxSize: maxBytes,
      sizeCalculation: ({ bytes }) => bytes,
      dispose: ({ letGo }) => letGo()
    })
  }

  /** Number of known keys. */
  get size(): number {
    return this.#running.size + this.#ended.size
  }

  /**
   * Returns the run of a key, if known.
   *
   * @throws EaselError IDEMPOTENCY_KEY_REUSED when the key was used with a different body
   */
  find({ scope, key, fingerprint }: RequestKey): Run | undefined {
    const name = scoped(scope, key)
    const entry = this.#running.get(name) ?? this.#ended.get(name)
    if (entry !== undefined && entry.fingerprint !== fingerprint)
      throw new EaselError('IDEMPOTENCY_KEY_REUSED', undefined, { field: 'idempotency-key' })
    return entry?.run
  }

  /** Forgets the answer that was used least recently. Returns whether there was one. */
  forgetOne(): boolean {
    return this.#ended.pop() !== undefined
  }

  /** Stores a run under a key for which `find` returned undefined. */
  remember({ scope, key, fingerprint }: RequestKey, run: Run): void {
    const name = scoped(scope, key)
    const entry = { fingerprint, run }
    this.#running.set(name, entry)
    run.onEnd((error) => {
      this.#running.delete(name)
      if (error !== undefined && TRANSIENT.has(error.code)) return
      const bytes = ENTRY_BYTES + run.bytes
      // LRUCache silently drops an entry larger than maxSize, and would then never call letGo.
      if (bytes <= this.#ended.maxSize) this.#ended.set(name, { ...entry, bytes, letGo: run.keep() })
    })
  }
}

/** A hash of the body that does not depend on the order of its fields. */
export function fingerprintOf(body: object): string {
  return createHash('sha256').update(stringify(body)).digest('base64url')
}
