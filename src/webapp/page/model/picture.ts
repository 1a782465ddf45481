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
