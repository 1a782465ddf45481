import type { Files, Known } from '../api/types.js'
import { sha256Of } from '../lib/picture-file.js'
import { type ConditionList, PARTS } from './conditions.js'
import type { StartRecipe } from './start.js'

/** Bytes of files that are remembered at most. */
const MOST_BYTES = 128 * 2 ** 20

/** The files that images were made from while the page is open, by their SHA-256. Forgets the oldest. */
export class Sources {
  readonly #files = new Map<string, Blob>()
  readonly #most: number

  constructor(most = MOST_BYTES) {
    this.#most = most
  }

  /** Remembers the files of a request, whose digests are in the recipe that the server returned. */
  note(recipe: StartRecipe & Pick<Known, ConditionList>, files: Files): void {
    this.#keep(recipe.image_sha256, files.image)
    this.#keep(recipe.mask_image_sha256, files.mask_image)
    for (const [list, part] of Object.entries(PARTS) as [ConditionList, 'control_image'][])
      for (const [index, file] of (files[part] ?? []).entries()) this.#keep(recipe[list]?.[index]?.image_sha256, file)
  }

  /** The file with this digest: a remembered one, or one of these. */
  async find(sha256: string, others: readonly Blob[] = []): Promise<Blob | undefined> {
    const known = this.#files.get(sha256)
    if (known !== undefined) return known
    for (const file of others) if ((await sha256Of(file)) === sha256) return file
    return undefined
  }

  #keep(sha256: string | undefined, file: Blob | undefined): void {
    if (sha256 === undefined || file === undefined) return
    this.#files.delete(sha256)
    this.#files.set(sha256, file)
    let bytes = [...this.#files.values()].reduce((sum, { size }) => sum + size, 0)
    for (const [oldest, { size }] of this.#files) {
      if (bytes <= this.#most || oldest === sha256) break
      this.#files.delete(oldest)
      bytes -= size
    }
  }
}
