import type { Pixels, Size } from './pixels.js'

/** Part of a picture, in its pixels. */
export interface Region extends Size {
  readonly left: number
  readonly top: number
}

/**
 * The part of a picture to paint for a mask: the rectangle around all of the mask's pixels above 0, padded, then widened
 * to the aspect ratio of the image to be made as far as the picture reaches.
 *
 * @param mask one channel; at least one pixel must be above 0
 * @param target the size of the image to be made
 * @param padding pixels
 * @see https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/image_processor.py#L289-L376
 */
export function cropRegionOf(mask: Pixels, target: Size, padding: number): Region | undefined {
  const bounds = boundsOf(mask)
  if (bounds === undefined) return undefined
  const { width, height } = mask
  let x = span(Math.max(bounds.left - padding, 0), Math.min(bounds.right + padding, width))
  let y = span(Math.max(bounds.top - padding, 0), Math.min(bounds.bottom + padding, height))
  const ratio = target.width / target.height
  if (length(x) / length(y) > ratio) y = widened(y, Math.trunc(length(x) / ratio - length(y)), height)
  else x = widened(x, Math.trunc(length(y) * ratio - length(x)), width)
  return { left: x[0], top: y[0], width: length(x), height: length(y) }
}

type Span = readonly [start: number, end: number]

const span = (start: number, end: number): Span => [start, end]
const length = ([start, end]: Span): number => end - start

/** Makes a span longer on both sides, moved inside 0 to `most` and cut there. */
function widened([start, end]: Span, by: number, most: number): Span {
  let [from, to] = [start - Math.floor(by / 2), end + by - Math.floor(by / 2)]
  if (to >= most) [from, to] = [from - (to - most), most]
  if (from < 0) [from, to] = [0, to - from]
  return [from, Math.min(to, most)]
}

/** The rectangle around all pixels above 0; undefined if there are none. */
function boundsOf({ data, width, height }: Pixels) {
  let [left, right, top, bottom] = [width, 0, height, 0]
  const empty = Buffer.alloc(width)
  for (let y = 0; y < height; y++) {
    const row = data.subarray(y * width, (y + 1) * width)
    if (row.equals(empty)) continue
    top = Math.min(top, y)
    bottom = y + 1
    // Outside what is known already only.
    for (let x = 0; x < left; x++)
      if (row[x] !== 0) {
        left = x
        break
      }
    for (let x = width - 1; x >= right; x--)
      if (row[x] !== 0) {
        right = x + 1
        break
      }
  }
  return bottom === 0 ? undefined : { left, right, top, bottom }
}
