import { parametersText } from './parameters.js'
import type { Recipe } from './recipe.js'

/** TIFF field types. */
const ASCII = 2
const SHORT = 3
const LONG = 4
const UNDEFINED = 7

interface Field {
  tag: number
  type: number
  /** Number of values; for ASCII and UNDEFINED, the number of bytes. */
  count: number
  value: Buffer
}

/**
 * Maximum UTF-16 units of each prompt in EXIF, which has 64 KiB in a JPEG. Only viewers read it; the XMP has the whole
 * recipe.
 */
const MAX_SHOWN = 8000

/**
 * An EXIF block (big-endian TIFF) with the program, the recipe as a user comment that viewers show, and sRGB as the
 * colour space.
 *
 * Written by hand because libvips writes comments in ASCII only. UTF-16 works in viewers for every script.
 *
 * @see https://www.cipa.jp/std/documents/download_e.html?DC-008-Translation-2023-E (4.6.6)
 */
export function exifOf(recipe: Recipe): Buffer {
  const shown = { ...recipe, prompt: cut(recipe.prompt), negative_prompt: cut(recipe.negative_prompt) }
  const comment = Buffer.concat([Buffer.from('UNICODE\0'), Buffer.from(parametersText(shown), 'utf16le').swap16()])
  const program = Buffer.from(`easel ${recipe.version}\0`)
  const header = Buffer.from('MM\0*\0\0\0\x08', 'latin1')
  const first = [text(0x0131, program), { tag: 0x8769, type: LONG, count: 1, value: Buffer.alloc(4) }]
  const second = header.length + bytesOf(first)
  first[1]!.value.writeUInt32BE(second)
  const details = [
    undefinedField(0x9000, Buffer.from('0232')),
    undefinedField(0x9286, comment),
    { tag: 0xa001, type: SHORT, count: 1, value: Buffer.from([0, 1, 0, 0]) }
  ]
  return Buffer.concat([header, directory(first, header.length), directory(details, second)])
}

function cut(prompt: string): string {
  return prompt.length <= MAX_SHOWN ? prompt : `${prompt.slice(0, MAX_SHOWN)}…`
}

function text(tag: number, value: Buffer): Field {
  return { tag, type: ASCII, count: value.length, value }
}

function undefinedField(tag: number, value: Buffer): Field {
  return { tag, type: UNDEFINED, count: value.length, value }
}

/** Values of up to four bytes are stored in the field itself. */
function isInside({ value }: Field): boolean {
  return value.length <= 4
}

/** Values start at even offsets. */
function padded(length: number): number {
  return length + (length % 2)
}

function bytesOf(fields: readonly Field[]): number {
  const values = fields.filter((field) => !isInside(field)).reduce((sum, { value }) => sum + padded(value.length), 0)
  return 2 + 12 * fields.length + 4 + values
}

/**
 * An image file directory: its fields, in ascending order of tag, then their values. @param at its offset in the block
 */
function directory(fields: readonly Field[], at: number): Buffer {
  const bytes = Buffer.alloc(bytesOf(fields))
  bytes.writeUInt16BE(fields.length)
  let end = 2 + 12 * fields.length + 4
  for (const [index, field] of fields.entries()) {
    const place = 2 + 12 * index
    bytes.writeUInt16BE(field.tag, place)
    bytes.writeUInt16BE(field.type, place + 2)
    bytes.writeUInt32BE(field.count, place + 4)
    if (isInside(field)) field.value.copy(bytes, place + 8)
    else {
      bytes.writeUInt32BE(at + end, place + 8)
      field.value.copy(bytes, end)
      end += padded(field.value.length)
    }
  }
  return bytes
}
