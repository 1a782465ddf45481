import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { stringify } from 'safe-stable-stringify'
import { EaselError, type ErrorCode } from '../errors.js'
import type { Run } from './run.js'
import { scoped } from './scoped.js'

export interface IdempotencyOptions {
  /** ms that a finished answer is kept for */
  ttl: number
  /** Most bytes of finished answers that are kept. */
  maxBytes: number
}

/** A client's key for a request. */
export interface RequestKey {
  /** Whose key it is: keys of different callers never meet. */
  readonly scope: string
  readonly key: string
  /** Of the body, as `fingerprintOf` gives it. */
  readonly fingerprint: string
}

interface Entry {
  readonly fingerprint: string
  readonly run: Run
}

/** What an answer costs beside its images, in bytes, more or less. */
const ENTRY_BYTES = 2048

/** Ends that say nothing about the request, so that the same key may try again. */
const TRANSIENT: ReadonlySet<ErrorCode> = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'DRAINING', 'INTERNAL'])

/**
 * Remembers which keyed request became which run, so that a retry joins it while it runs and gets its answer after.
 *
 * What runs is always remembered (there are no more than the queue holds); what has ended for a while, as far as
 * there is room. Nothing outlives the process.
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

  /** Keys that are remembered. */
  get size(): number {
    return this.#running.size + this.#ended.size
  }

  /**
   * The run of a key, if there is one.
   *
   * @throws EaselError IDEMPOTENCY_KEY_REUSED when the key came with another body
   */
  find({ scope, key, fingerprint }: RequestKey): Run | undefined {
    const name = scoped(scope, key)
    const entry = this.#running.get(name) ?? this.#ended.get(name)
    if (entry !== undefined && entry.fingerprint !== fingerprint)
      throw new EaselError('IDEMPOTENCY_KEY_REUSED', undefined, { field: 'idempotency-key' })
    return entry?.run
  }

  /** Remembers a run under a key that `find` has no run for. */
  remember({ scope, key, fingerprint }: RequestKey, run: Run): void {
    const name = scoped(scope, key)
    const entry = { fingerprint, run }
    this.#running.set(name, entry)
    run.onEnd((error) => {
      this.#running.delete(name)
      if (error !== undefined && TRANSIENT.has(error.code)) return
      const bytes = ENTRY_BYTES + run.bytes
      // The cache does not say that it has no room for an answer as large as this.
      if (bytes <= this.#ended.maxSize) this.#ended.set(name, { ...entry, bytes, letGo: run.keep() })
    })
  }
}

/** The same for two bodies that mean the same request, whatever the order of their fields. */
export function fingerprintOf(body: object): string {
  return createHash('sha256').update(stringify(body)).digest('base64url')
}
