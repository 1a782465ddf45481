import type { Known } from '../api/types.js'

/** A picture that this browser has. */
export interface Picture {
  id: string
  /** ms since 1970 */
  createdAt: number
  blob: Blob
  recipe: Known
  /** How long it took, from the click. Unknown for pictures that were brought here. */
  seconds?: number
}

/** The id of a run's picture, from which `inOrder` reads both again. */
export function pictureId(run: string, index: number): string {
  return `${run}-${index}`
}

/** The newest request first, and its pictures in their own order, as in the tray; in whatever order they were finished. */
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

const urls = new WeakMap<Picture, string>()

/** An address that shows the picture in this page. */
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
