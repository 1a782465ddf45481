import { randomUUID } from 'node:crypto'
import pLimit from 'p-limit'
import type { Logger } from 'pino'
import { EaselError } from '../errors.js'
import { mimeOf } from '../image/formats.js'
import type { ImageFile } from '../service/run.js'
import { unlessAborted } from '../unless-aborted.js'
import type { ResultStore } from './store.js'

export interface ResultsOptions {
  readonly store: ResultStore
  /** Seconds for which URLs can be read. */
  readonly urlTtl: number
  readonly log: Logger
  readonly observer: ResultsObserver
}

export interface ResultsObserver {
  /** A file was stored, or could not be, after this many seconds. */
  stored: (outcome: 'stored' | 'failed', seconds: number, bytes: number) => void
  /** A file was deleted, or could not be. */
  deleted: (outcome: 'deleted' | 'failed') => void
}

/** Most files that are being stored at once. As many are read or deleted, and as many URLs signed. */
const CONCURRENCY = 16

/** How long storing the images of one request, or reading a file, may take, with the wait for others, in ms. */
const TIME_LIMIT_MS = 60_000

/** How long signing URLs that an answer can do without may take, in ms. Google signs each in a call. */
const SIGN_MS = 5000

/** `Retry-After` when the store fails. */
const RETRY_SECONDS = 10

/** ms between two log lines about the same failure. Jobs try again each second. */
const LOG_MS = 60_000

/** Stores images where others can fetch them, and gives URLs. */
export class Results {
  readonly #options: ResultsOptions
  readonly #limit = pLimit(CONCURRENCY)
  readonly #others = pLimit(CONCURRENCY)
  /** The names of files that were stored, or are being stored, by the list of images that an answer has. */
  readonly #stored = new WeakMap<readonly ImageFile[], Promise<readonly string[]>>()
  /** When each thing that failed was last logged. */
  readonly #logged = new Map<string, number>()

  constructor(options: ResultsOptions) {
    this.#options = options
  }

  /** Equal for gateways whose RESULTS have the same files. */
  get identity(): string {
    return this.#options.store.identity
  }

  /**
   * Stores the images of a request, unless an earlier answer with the same images did, and returns a URL for each. A URL may
   * be a path of this gateway.
   *
   * @param scope the name of the caller's access key; empty if there are none
   * @throws EaselError RESULTS_UNAVAILABLE or STORAGE_FULL. The next call tries again.
   */
  async urls(scope: string, images: readonly ImageFile[]): Promise<string[]> {
    const { store, urlTtl } = this.#options
    try {
      const names = await this.#store(scope, images)
      return await Promise.all(names.map((name) => store.urlOf(name, urlTtl)))
    } catch (error) {
      this.#log(error, 'the images of a request could not be stored in RESULTS; its client may try again')
      if (error instanceof EaselError) throw error
      throw unavailable(
        'the images were made, but the place where the server stores them does not take them; retry, or ask for response_format "b64_json"',
        error
      )
    }
  }

  /**
   * Stores a file of a job.
   *
   * @throws EaselError RESULTS_UNAVAILABLE or STORAGE_FULL
   */
  async save(name: string, image: ImageFile): Promise<void> {
    const signal = AbortSignal.timeout(TIME_LIMIT_MS)
    try {
      await this.#limit(() => this.#put(name, image, signal))
    } catch (error) {
      this.#logNowAndThen('save', error, 'an image of a job could not be stored in RESULTS; the job waits')
      if (error instanceof EaselError) throw error
      throw unavailable('the place where the server stores images does not take them', error)
    }
  }

  /**
   * A stored file; undefined if it is gone.
   *
   * @param bytes how long it is
   * @param left fires when the caller no longer waits
   * @throws EaselError RESULTS_UNAVAILABLE
   */
  async read(name: string, bytes: number, left: AbortSignal): Promise<Buffer | undefined> {
    const signal = AbortSignal.any([left, AbortSignal.timeout(TIME_LIMIT_MS)])
    try {
      return await this.#others(() => {
        signal.throwIfAborted()
        return this.#options.store.get(name, bytes, signal)
      })
    } catch (error) {
      if (!left.aborted) this.#logNowAndThen('read', error, 'an image of a job could not be read from RESULTS')
      throw unavailable('the place where the server stores images does not give this one', error)
    }
  }

  /** URLs of files, as `urls` gives them; undefined if they cannot be signed. */
  async urlsOf(names: readonly string[]): Promise<string[] | undefined> {
    const { store, urlTtl } = this.#options
    const signal = AbortSignal.timeout(SIGN_MS)
    try {
      const signed = names.map((name) => this.#others(() => store.urlOf(name, urlTtl)))
      return await unlessAborted(Promise.all(signed), signal)
    } catch (error) {
      this.#logNowAndThen('sign', error, 'the URL of a file in RESULTS could not be signed')
      return undefined
    }
  }

  /** Deletes files that exist. Returns whether none of them is left. */
  async delete(names: readonly string[]): Promise<boolean> {
    const { store, observer } = this.#options
    const signal = AbortSignal.timeout(TIME_LIMIT_MS)
    const all = await Promise.allSettled(names.map((name) => this.#others(() => store.delete(name, signal))))
    const failed = all.filter((each) => each.status === 'rejected')
    for (const { status } of all) observer.deleted(status === 'fulfilled' ? 'deleted' : 'failed')
    if (failed.length === 0) return true
    this.#logNowAndThen(
      'delete',
      failed[0]!.reason,
      'files of jobs that are gone could not be deleted from RESULTS; this is tried again, and a rule of the bucket or RESULTS_KEEP deletes what is given up'
    )
    return false
  }

  close(): void {
    this.#options.store.close()
  }

  #store(scope: string, images: readonly ImageFile[]): Promise<readonly string[]> {
    const known = this.#stored.get(images)
    if (known !== undefined) return known
    const storing = this.#putAll(`${folderOf(scope)}/${randomUUID()}`, images)
    this.#stored.set(images, storing)
    storing.catch(() => this.#stored.delete(images))
    return storing
  }

  async #putAll(folder: string, images: readonly ImageFile[]): Promise<readonly string[]> {
    const signal = AbortSignal.timeout(TIME_LIMIT_MS)
    return Promise.all(
      images.map((image) =>
        this.#limit(async () => {
          const name = `${folder}/${fileOf(image)}`
          await this.#put(name, image, signal)
          return name
        })
      )
    )
  }

  async #put(name: string, { bytes, format }: ImageFile, signal: AbortSignal): Promise<void> {
    const { store, observer } = this.#options
    const start = performance.now()
    const seconds = () => (performance.now() - start) / 1000
    try {
      signal.throwIfAborted()
      await store.put(name, { bytes, type: mimeOf(format) }, signal)
    } catch (error) {
      observer.stored('failed', seconds(), 0)
      throw error
    }
    observer.stored('stored', seconds(), bytes.length)
  }

  #logNowAndThen(what: string, error: unknown, said: string): void {
    const now = performance.now()
    if (now - (this.#logged.get(what) ?? -Infinity) < LOG_MS) return
    this.#logged.set(what, now)
    this.#log(error, said)
  }

  #log(error: unknown, said: string): void {
    // Not the error itself: those of the buckets' packages may hold the request, with its credentials.
    const { name, message } = error instanceof Error ? error : new Error(String(error))
    this.#options.log.error({ cause: name, message }, said)
  }
}

/**
 * The first part of a name: the access key's, which is a folder of its own. Keys may be called `.` or `..`, and no key begins
 * with a tilde.
 */
export function folderOf(scope: string): string {
  if (scope === '') return '~'
  return /^\.+$/.test(scope) ? `~${scope}` : scope
}

/** The last part of a name. */
export function fileOf({ index, format }: ImageFile): string {
  return `${index}.${format}`
}

function unavailable(message: string, cause: unknown): EaselError {
  return new EaselError('RESULTS_UNAVAILABLE', message, { retryAfter: RETRY_SECONDS, ofAccepted: true, cause })
}
