import { fieldNameOf, type PictureField } from './picture-field.js'

/** Which strings of a JSON body are pictures: the field by the path to it, `*` for any index. */
export type PicturePaths = Readonly<Record<string, PictureField>>

/** Objects and lists this deep may contain a picture; deeper ones are only passed over. */
const MAX_DEPTH = 6

const [QUOTE, COMMA, BACKSLASH] = [0x22, 0x2c, 0x5c]
const [OPEN, CLOSE, OPEN_LIST, CLOSE_LIST] = [0x7b, 0x7d, 0x5b, 0x5d]

interface Place {
  /** The current key of an object, or index of a list. */
  at: string | number
  /** Whether a string would be a key. */
  key: boolean
}

/**
 * Finds the strings of a JSON text that are pictures, chunk by chunk and without keeping any. Does not check that the
 * text is JSON: of a text that is not, it may find anything.
 */
export class JsonScanner {
  readonly #paths: PicturePaths
  readonly #places: Place[] = []
  #depth = 0
  #string: 'none' | 'key' | 'value' = 'none'
  #escaped = false
  /** The parts of the key that is being read. */
  #key: Buffer[] = []

  constructor(paths: PicturePaths) {
    this.#paths = paths
  }

  /**
   * Moves on in a chunk, to behind the quote that opens the next picture or to the chunk's end. Behind a picture, go on
   * after the quote that closes it.
   */
  next(chunk: Buffer, from: number): { readonly at: number; readonly field?: string | undefined } {
    let at = from
    while (at < chunk.length) {
      if (this.#string !== 'none') {
        at = this.#passString(chunk, at)
        continue
      }
      const byte = chunk[at]!
      at += 1
      if (byte === QUOTE) {
        const field = this.#opens()
        if (field !== undefined) return { at, field }
      } else this.#moves(byte)
    }
    return { at }
  }

  #moves(byte: number): void {
    if (byte === OPEN || byte === OPEN_LIST) {
      this.#depth += 1
      if (this.#depth <= MAX_DEPTH) this.#places.push(byte === OPEN ? { at: '', key: true } : { at: 0, key: false })
    } else if (byte === CLOSE || byte === CLOSE_LIST) {
      if (this.#depth <= MAX_DEPTH) this.#places.pop()
      this.#depth = Math.max(0, this.#depth - 1)
    } else if (byte === COMMA) {
      const here = this.#here
      if (typeof here?.at === 'number') here.at += 1
      else if (here !== undefined) here.key = true
    }
  }

  get #here(): Place | undefined {
    return this.#depth <= MAX_DEPTH ? this.#places.at(-1) : undefined
  }

  /** The index in the innermost list. */
  get #index(): number {
    const index = this.#places.findLast(({ at }) => typeof at === 'number')?.at
    return typeof index === 'number' ? index : 0
  }

  /** A string opens. Returns the field if it is a picture. @throws EaselError if its list has too many */
  #opens(): string | undefined {
    const here = this.#here
    if (here?.key !== true) {
      const path = here && this.#places.map(({ at }) => (typeof at === 'number' ? '*' : at)).join('.')
      const field = path !== undefined && Object.hasOwn(this.#paths, path) ? this.#paths[path] : undefined
      if (field !== undefined) return fieldNameOf(field, this.#index)
      this.#string = 'value'
      return undefined
    }
    this.#string = 'key'
    this.#key = []
    return undefined
  }

  /** Moves over a string, to behind its closing quote or to the chunk's end. */
  #passString(chunk: Buffer, from: number): number {
    const end = endOfString(chunk, from, this.#escaped)
    if (this.#string === 'key') this.#key.push(Buffer.from(chunk.subarray(from, end.at)))
    this.#escaped = end.escaped
    if (!end.closed) return chunk.length
    const here = this.#here
    if (this.#string === 'key' && here !== undefined) {
      here.at = keyOf(Buffer.concat(this.#key).toString())
      here.key = false
    }
    this.#string = 'none'
    return end.at + 1
  }
}

/**
 * Where a string ends in a chunk: at its closing quote, or at the chunk's end if it goes on.
 *
 * @param escaped whether the byte before `from` escapes the one there
 */
export function endOfString(
  chunk: Buffer,
  from: number,
  escaped: boolean
): { readonly at: number; readonly closed: boolean; readonly escaped: boolean } {
  let start = escaped ? from + 1 : from
  for (;;) {
    const quote = chunk.indexOf(QUOTE, start)
    const end = quote === -1 ? chunk.length : quote
    let slashes = 0
    while (end - slashes > start && chunk[end - slashes - 1] === BACKSLASH) slashes += 1
    const escapes = slashes % 2 === 1
    if (quote === -1) return { at: end, closed: false, escaped: start > end || escapes }
    if (!escapes) return { at: end, closed: true, escaped: false }
    start = quote + 1
  }
}

/** A key's text. A dot in it must not make it look like a path. */
function keyOf(raw: string): string {
  try {
    return (raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw).replaceAll('.', '\0')
  } catch {
    return ''
  }
}
