import { EaselError } from '../errors.js'
import type { Log } from '../logger.js'
import { fileOf, folderOf, type Results } from '../results/results.js'
import type { ImageFile } from '../service/run.js'
import type { JobFiles, JobName, JobStore } from './store.js'

/** ms for which nothing is deleted after a deletion failed. */
const PAUSE_MS = 30_000

/** Images of jobs as files in RESULTS, and the deletion of those that no job has any more. */
export class JobFileStore {
  readonly #results: Results
  readonly #store: JobStore
  readonly #log: Log
  #deleting: Promise<void> | undefined
  #pausedUntil = -Infinity
  #closed = false

  constructor(results: Results, store: JobStore, log: Log) {
    this.#results = results
    this.#store = store
    this.#log = log
  }

  /** Files for a job's images: the same ones however often it is made. @param folder the submission's */
  plan({ scope, id }: JobName, folder: string, images: readonly ImageFile[]): JobFiles {
    return {
      at: this.#results.identity,
      // The id is for people who look for it.
      folder: `${folderOf(scope)}/${id}~${folder}`,
      files: images.map(fileOf)
    }
  }

  /** Writes one of the planned files. @throws EaselError RESULTS_UNAVAILABLE or STORAGE_FULL */
  save(files: JobFiles, which: number, image: ImageFile): Promise<void> {
    return this.#results.save(namesOf(files)[which]!, image)
  }

  /**
   * An image's bytes; undefined if the file is gone.
   *
   * @param bytes how many there are
   * @param left fires when the caller no longer waits
   * @throws EaselError RESULTS_UNAVAILABLE, also for an image that is in other RESULTS than this gateway's
   */
  async read(files: JobFiles, which: number, bytes: number, left: AbortSignal): Promise<Buffer | undefined> {
    if (!this.has(files)) throw elsewhere()
    return this.#results.read(namesOf(files)[which]!, bytes, left)
  }

  /** A signed URL, or a path of this gateway, for each file; undefined if none can be given. */
  async urls(files: JobFiles): Promise<string[] | undefined> {
    return this.has(files) ? this.#results.urlsOf(namesOf(files)) : undefined
  }

  /** Deletes the files that are left over, if nothing failed lately. Returns at once. */
  clean(): void {
    if (this.#closed || performance.now() < this.#pausedUntil) return
    this.#deleting ??= this.#clean()
      .catch((error: unknown) => {
        // The store says itself when it is away.
        if (!(error instanceof EaselError)) this.#log.error({ err: error }, 'files of jobs could not be looked for')
      })
      .finally(() => (this.#deleting = undefined))
  }

  /** Deletes nothing more. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#deleting
  }

  /** Whether files are in this gateway's RESULTS. */
  has({ at }: JobFiles): boolean {
    return at === this.#results.identity
  }

  #sayGivenUp(jobs: number): void {
    this.#log.warn(
      { jobs },
      `the files of ${jobs} forgotten jobs stay in RESULTS until a rule of the bucket or RESULTS_KEEP deletes them: more waited to be deleted than JOB_LIMIT allows (${this.#store.bounds.jobs})`
    )
  }

  async #clean(): Promise<void> {
    while (!this.#closed) {
      const left = await this.#store.leftOver(this.#results.identity)
      if (left.givenUp > 0) this.#sayGivenUp(left.givenUp)
      if (left.files.length === 0) return
      for (const files of left.files) {
        if (this.#closed) return
        if (!(await this.#results.delete(namesOf(files)))) {
          this.#pausedUntil = performance.now() + PAUSE_MS
          return
        }
        await this.#store.deleted(files)
      }
    }
  }
}

/** What a gateway says that does not have the RESULTS in which a job's images are. */
export function elsewhere(): EaselError {
  return new EaselError(
    'RESULTS_UNAVAILABLE',
    'the image is in other RESULTS than those of this gateway: all gateways of a job store need the same RESULTS',
    { retryAfter: 10 }
  )
}

function namesOf({ folder, files }: JobFiles): string[] {
  return files.map((file) => `${folder}/${file}`)
}
