import type { Known } from '../api/types.js'
import type { Size } from '../lib/picture-file.js'

/** A picture in this browser. */
export interface Picture {
  id: string
  /** ms since 1970 */
  createdAt: number
  blob: Blob
  recipe: Known
  /** Of the file, if known: with `padding_mask_crop` it is not the recipe's. */
  size?: Size
  /** Duration from the click. Undefined for pictures opened from a file. */
  seconds?: number
}

/** The id of a run's picture. `inOrder` parses run and index from it. */
export function pictureId(run: string, index: number): string {
  return `${run}-${index}`
}

/** Sorts by request, newest first, then by index as in the tray, whatever order the pictures finished in. */
export function inOrder(pictures: readonly Picture[]): Picture[] {
  const keys = pictures.map((picture) => ({ picture, ...partsOf(picture.id) }))
  const newest = new Map<string, number>()
  for (const { run, picture } of keys) newest.set(run, Math.max(newest.get(run) ?? 0, picture.createdAt))
  return keys
    .sort(
      (a, b) => newest.get(b.run)! - newest.get(a.run)! || (a.run < b.run ? -1 : a.run > b.run ? 1 : a.index - b.index)
    )
    .map(({ picture }) => picture)
}

function partsOf(id: string): { run: string; index: number } {
  const [, run = id, index = '0'] = /^(.*)-(\d+)$/s.exec(id) ?? []
  return { run, index: Number(index) }
}

/** The size of the picture. */
export function shapeOf({ size, recipe }: Picture): Size {
  return size ?? recipe
}

const urls = new WeakMap<Picture, string>()

/** A URL for the picture within this page. */
export function urlOf(picture: Picture): string {
  const url = urls.get(picture) ?? URL.createObjectURL(picture.blob)
  urls.set(picture, url)
  return url
}

/** Frees the picture's memory. */
export function release(picture: Picture): void {
  const url = urls.get(picture)
  if (url === undefined) return
  URL.revokeObjectURL(url)
  urls.delete(picture)
}
