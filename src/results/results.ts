import { randomUUID } from 'node:crypto'
import pLimit from 'p-limit'
import type { Logger } from 'pino'
import { EaselError } from '../errors.js'
import { mimeOf } from '../image/formats.js'
import type { ImageFile } from '../service/run.js'
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
}

/** Most files that are being stored at once. */
const CONCURRENCY = 16

/** How long storing the images of one request may take, with the wait for other requests', in ms. */
const TIME_LIMIT_MS = 60_000

/** `Retry-After` when the store fails. */
const RETRY_SECONDS = 10

/** Stores images where others can fetch them, and gives URLs. */
export class Results {
  readonly #options: ResultsOptions
  readonly #limit = pLimit(CONCURRENCY)
  /** The names of files that were stored, or are being stored, by the list of images that an answer has. */
  readonly #stored = new WeakMap<readonly ImageFile[], Promise<readonly string[]>>()

  constructor(options: ResultsOptions) {
    this.#options = options
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
      throw this.#failure(error)
    }
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
          const name = `${folder}/${image.index}.${image.format}`
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

  #failure(error: unknown): EaselError {
    // Not the error itself: those of the buckets' packages may hold the request, with its credentials.
    const { name, message } = error instanceof Error ? error : new Error(String(error))
    this.#options.log.error(
      { cause: name, message },
      'the images of a request could not be stored in RESULTS; its client may try again'
    )
    if (error instanceof EaselError) return error
    return new EaselError(
      'RESULTS_UNAVAILABLE',
      'the images were made, but the place where the server stores them does not take them; retry, or ask for response_format "b64_json"',
      { retryAfter: RETRY_SECONDS, ofAccepted: true, cause: error }
    )
  }
}

/**
 * The first part of a name: the access key's, which is a folder of its own. Keys may be called `.` or `..`, and no key begins
 * with a tilde.
 */
function folderOf(scope: string): string {
  if (scope === '') return '~'
  return /^\.+$/.test(scope) ? `~${scope}` : scope
}
