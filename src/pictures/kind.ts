import { type Format, FORMATS } from '../image/formats.js'
import { formatOf } from '../image/metadata.js'

/** Formats that are refused by name: bytes at an offset. */
const REFUSED: readonly (readonly [name: string, at: number, bytes: string])[] = [
  ['GIF', 0, 'GIF8'],
  ['TIFF', 0, 'II*\0'],
  ['TIFF', 0, 'MM\0*'],
  ['BMP', 0, 'BM'],
  ['PDF', 0, '%PDF'],
  ['JPEG XL', 0, '\xff\x0a'],
  ['JPEG XL', 4, 'JXL '],
  ['JPEG 2000', 4, 'jP  '],
  ['AVIF', 4, 'ftypavi'],
  ['HEIC', 4, 'ftyphei'],
  ['HEIC', 4, 'ftypmif1'],
  ['Photoshop', 0, '8BPS'],
  ['SVG', 0, '<svg'],
  ['SVG or XML', 0, '<?xml']
]

/** What a file is, by its content and not by its name or declared type. */
export type Kind = { readonly format: Format } | { readonly refused: string | undefined }

/** @param file the file, or at least its first 12 bytes */
export function kindOf(file: Buffer): Kind {
  const format = formatOf(file)
  if (format !== undefined) return { format }
  const found = REFUSED.find(([, at, bytes]) =>
    file.subarray(at, at + bytes.length).equals(Buffer.from(bytes, 'latin1'))
  )
  return { refused: found?.[0] }
}

/** The formats that pictures may have, for people: `PNG, JPEG or WebP`. */
export const READABLE = FORMATS.map((format) => (format === 'webp' ? 'WebP' : format.toUpperCase()))
  .join(', ')
  .replace(/, ([^,]+)$/, ' or $1')

const PNG_HEAD = 8
const CHUNK_HEAD = 8
const CHECK = 4
/** Chunks looked at. Real files have a few before their pixels; a file made for it may have a million. */
const MAX_CHUNKS = 5000

/**
 * Whether a PNG is animated; undefined if it has too many chunks before its pixels to tell. libvips does not say so: it
 * reads the first frame.
 *
 * @see https://www.w3.org/TR/png-3/#acTL-chunk
 */
export function isAnimatedPng(file: Buffer): boolean | undefined {
  let at = PNG_HEAD
  // acTL comes before the first IDAT.
  for (let chunk = 0; at + CHUNK_HEAD <= file.length; chunk++) {
    if (chunk === MAX_CHUNKS) return undefined
    const type = file.toString('latin1', at + 4, at + CHUNK_HEAD)
    if (type === 'acTL') return true
    if (type === 'IDAT') return false
    at += CHUNK_HEAD + file.readUInt32BE(at) + CHECK
  }
  return false
}
