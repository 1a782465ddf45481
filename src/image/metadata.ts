import { promisify } from 'node:util'
import { inflate } from 'node:zlib'
import type { ByteReader } from './byte-reader.js'
import type { Format } from './formats.js'
import { EXTENSION_HEAD, EXTENSION_MARK, HAS_EXTENDED, XMP_MARK } from './jpeg.js'
import { recipeTextOf } from './xmp.js'

/**
 * The longest recipe read from a file, in bytes, compressed or not. Our own are shorter: two prompts of 32,000 UTF-16
 * units, at most six bytes a unit, take 384 KB. Only four such prompts, mostly of quotes, would exceed it.
 */
export const MAX_RECIPE_BYTES = 512 * 1024

/**
 * Maximum chunks or segments read of a file. In our own files the recipe is in the first few, or in the last of four.
 */
const MAX_CHUNKS = 5000

/** The signature of each format: bytes at fixed offsets. */
const SIGNATURES: Readonly<Record<Format, readonly (readonly [at: number, bytes: Buffer])[]>> = {
  png: [[0, Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')]],
  jpeg: [[0, Buffer.from('\xff\xd8\xff', 'latin1')]],
  webp: [
    [0, Buffer.from('RIFF')],
    [8, Buffer.from('WEBP')]
  ]
}

/** Bytes needed to recognise any format. */
const SIGNATURE_BYTES = 12

/** The format by the file's first bytes, ignoring any declared type; undefined if unsupported. */
export function formatOf(start: Buffer): Format | undefined {
  const formats = Object.keys(SIGNATURES) as Format[]
  return formats.find((format) =>
    SIGNATURES[format].every(([at, bytes]) => start.subarray(at, at + bytes.length).equals(bytes))
  )
}

/** The file is not in a supported format. */
export class NotAnImage extends Error {}

/** A file's metadata about how its image was made. */
export interface Description {
  readonly format: Format
  /** The JSON text that `ImageEncoder` wrote. */
  readonly easel?: string | undefined
  /** For a PNG without `easel`: the text that AUTOMATIC1111's web UI and others write. */
  readonly parameters?: string | undefined
}

/**
 * Reads how the image in a PNG, JPEG or WebP file was made. Ignores metadata above `MAX_RECIPE_BYTES`, and so buffers
 * no more than that. Decodes no pixels.
 *
 * @throws NotAnImage for any other file
 */
export async function descriptionIn(file: ByteReader): Promise<Description> {
  const start = await file.peek(SIGNATURE_BYTES)
  const format = start && formatOf(start)
  if (format === undefined) throw new NotAnImage('the body is not a PNG, JPEG or WebP file')
  if (format === 'png') return { format, ...(await textsInPng(file)) }
  return { format, easel: await (format === 'jpeg' ? xmpInJpeg(file) : xmpInWebp(file)) }
}

/** @see https://www.w3.org/TR/png-3/#5Chunk-layout */
async function textsInPng(file: ByteReader): Promise<Pick<Description, 'easel' | 'parameters'>> {
  await file.skip(8)
  let parameters: string | undefined
  for (let chunk = 0; chunk < MAX_CHUNKS; chunk++) {
    const head = await file.take(8)
    if (head === undefined) break
    const length = head.readUInt32BE(0)
    const type = head.toString('latin1', 4)
    if (type === 'IEND') break
    if ((type !== 'iTXt' && type !== 'tEXt') || length > MAX_RECIPE_BYTES) {
      if (!(await file.skip(length + 4))) break
      continue
    }
    const data = await file.take(length)
    if (data === undefined) break
    const textOf = type === 'iTXt' ? internationalText : latinText
    if (startsWith(data, EASEL)) return { easel: await textOf(data.subarray(EASEL.length)) }
    if (startsWith(data, PARAMETERS)) parameters ??= await textOf(data.subarray(PARAMETERS.length))
    if (!(await file.skip(4))) break
  }
  return { parameters }
}

const EASEL = Buffer.from('easel\0')
const PARAMETERS = Buffer.from('parameters\0')

/** @see https://www.w3.org/TR/png-3/#11tEXt */
async function latinText(data: Buffer): Promise<string> {
  return data.toString('latin1')
}

/** @see https://www.w3.org/TR/png-3/#11iTXt */
async function internationalText(data: Buffer): Promise<string | undefined> {
  const compressed = data[0] === 1
  // Compression flag and method, language tag, translated keyword.
  const language = data.indexOf(0, 2)
  const keyword = language === -1 ? -1 : data.indexOf(0, language + 1)
  if (keyword === -1) return undefined
  const text = data.subarray(keyword + 1)
  if (!compressed) return text.toString()
  try {
    return (await promisify(inflate)(text, { maxOutputLength: MAX_RECIPE_BYTES })).toString()
  } catch {
    // Corrupt, or larger than any recipe of ours.
    return undefined
  }
}

const START_OF_SCAN = 0xda
const END_OF_IMAGE = 0xd9
const APP1 = 0xe1

/** @see https://www.w3.org/Graphics/JPEG/itu-t81.pdf (B.1.1) */
async function xmpInJpeg(file: ByteReader): Promise<string | undefined> {
  await file.skip(2)
  let extended: ExtendedXmp | undefined
  for (let segment = 0; segment < MAX_CHUNKS; segment++) {
    const head = await file.take(4)
    if (head === undefined || head[0] !== 0xff) return undefined
    const marker = head[1]!
    const length = head.readUInt16BE(2) - 2
    if (marker === START_OF_SCAN || marker === END_OF_IMAGE || length < 0) return undefined
    if (marker !== APP1) {
      if (!(await file.skip(length))) return undefined
      continue
    }
    const data = await file.take(length)
    if (data === undefined) return undefined
    if (startsWith(data, XMP_MARK)) {
      const xmp = data.toString('utf8', XMP_MARK.length)
      const digest = extensionOf(xmp)
      if (digest === undefined) return recipeTextOf(xmp)
      extended = new ExtendedXmp(digest)
    } else if (startsWith(data, EXTENSION_MARK) && extended !== undefined) {
      const whole = extended.add(data)
      if (whole !== undefined) return recipeTextOf(whole)
    }
  }
  return undefined
}

function startsWith(data: Buffer, mark: Buffer): boolean {
  return data.subarray(0, mark.length).equals(mark)
}

function extensionOf(xmp: string): string | undefined {
  return new RegExp(`${HAS_EXTENDED}="([0-9A-F]{32})"`).exec(xmp)?.[1]
}

/** Reassembles an extended XMP packet whose parts arrive in order. */
class ExtendedXmp {
  readonly #digest: string
  readonly #parts: Buffer[] = []
  #bytes = 0

  constructor(digest: string) {
    this.#digest = digest
  }

  /** Adds a segment; returns the packet once it is complete. */
  add(data: Buffer): string | undefined {
    if (
      data.length < EXTENSION_HEAD ||
      data.toString('latin1', EXTENSION_MARK.length, EXTENSION_MARK.length + 32) !== this.#digest
    )
      return undefined
    const total = data.readUInt32BE(EXTENSION_HEAD - 8)
    if (
      data.readUInt32BE(EXTENSION_HEAD - 4) !== this.#bytes ||
      total > MAX_RECIPE_BYTES ||
      this.#bytes + data.length - EXTENSION_HEAD > total
    )
      return undefined
    this.#parts.push(data.subarray(EXTENSION_HEAD))
    this.#bytes += data.length - EXTENSION_HEAD
    return this.#bytes === total ? Buffer.concat(this.#parts).toString() : undefined
  }
}

/** @see https://developers.google.com/speed/webp/docs/riff_container */
async function xmpInWebp(file: ByteReader): Promise<string | undefined> {
  await file.skip(12)
  for (let chunk = 0; chunk < MAX_CHUNKS; chunk++) {
    const head = await file.take(8)
    if (head === undefined) return undefined
    const length = head.readUInt32LE(4)
    if (head.toString('latin1', 0, 4) === 'XMP ' && length <= MAX_RECIPE_BYTES) {
      const data = await file.take(length)
      return data && recipeTextOf(data.toString())
    }
    // Chunks start at even offsets.
    if (!(await file.skip(length + (length % 2)))) return undefined
  }
  return undefined
}
