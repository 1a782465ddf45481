import { EaselError } from '../errors.js'
import { base64Of } from './base64.js'
import { endOfString, JsonScanner, type PicturePaths } from './json-scanner.js'
import type { Upload } from './store.js'

export interface JsonReading {
  readonly paths: PicturePaths
  /** Called with the bytes of text so far, before they are kept. Throws to refuse. */
  readonly onText: (bytes: number) => void
  /** Receives the pictures. */
  readonly uploads: { take: (field: string, chunks: AsyncIterable<Buffer>) => Promise<Pick<Upload, 'sha256'>> }
}

const BACKSLASH = 0x5c

/**
 * Reads a JSON body as it arrives: stores the pictures in it, and puts the SHA-256 of each in its place. So a body of any
 * size takes the memory of its other fields, and the rest of the server sees short strings.
 *
 * Does not check that the text is JSON; whoever parses it does.
 *
 * @returns the text, in UTF-8 as it was sent
 * @throws what `onText` and storing a picture throw; EaselError INVALID_REQUEST for what is not base64
 */
export async function readJson(body: AsyncIterable<Buffer>, { paths, onText, uploads }: JsonReading): Promise<Buffer> {
  const cursor = new Cursor(body)
  const scanner = new JsonScanner(paths)
  const text: Buffer[] = []
  let bytes = 0
  const keep = (part: Buffer) => {
    bytes += part.length
    onText(bytes)
    // A part of a chunk would keep all of the chunk.
    text.push(Buffer.from(part))
  }
  while (await cursor.more()) {
    const { at, field } = scanner.next(cursor.chunk, cursor.at)
    keep(cursor.to(at))
    if (field === undefined) continue
    const { sha256 } = await uploads.take(field, base64Of(field, unescaped(field, cursor.string())))
    keep(Buffer.from(`${sha256}"`))
  }
  return Buffer.concat(text)
}

/** A place in a byte stream. */
class Cursor {
  chunk: Buffer = Buffer.alloc(0)
  at = 0
  readonly #chunks: AsyncIterator<Buffer>

  constructor(body: AsyncIterable<Buffer>) {
    this.#chunks = body[Symbol.asyncIterator]()
  }

  /** Waits for bytes; false at the end. */
  async more(): Promise<boolean> {
    while (this.at >= this.chunk.length) {
      const { value, done } = await this.#chunks.next()
      if (done === true) return false
      this.chunk = value
      this.at = 0
    }
    return true
  }

  /** The bytes up to an index of the chunk, and moves there. */
  to(at: number): Buffer {
    const part = this.chunk.subarray(this.at, at)
    this.at = at
    return part
  }

  /** The bytes of a string up to its closing quote, and moves behind that. Ends early with the stream. */
  async *string(): AsyncGenerator<Buffer> {
    let escaped = false
    while (await this.more()) {
      const end = endOfString(this.chunk, this.at, escaped)
      escaped = end.escaped
      const part = this.to(end.at)
      if (end.closed) this.at += 1
      yield part
      if (end.closed) return
    }
  }
}

/** The escapes that base64 may have in JSON. */
const ESCAPES: Readonly<Record<string, string>> = { '/': '/', n: '\n', r: '\r' }

/** @throws EaselError INVALID_REQUEST for an escape that no base64 needs */
async function* unescaped(field: string, string: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let escaping = false
  for await (const part of string) {
    if (!escaping && !part.includes(BACKSLASH)) {
      yield part
      continue
    }
    const letters: string[] = []
    for (const letter of part.toString('latin1')) {
      if (!escaping && letter === '\\') {
        escaping = true
        continue
      }
      const meant = escaping ? ESCAPES[letter] : letter
      if (meant === undefined)
        throw new EaselError('INVALID_REQUEST', `${field} is not base64: send the picture's bytes in base64`, { field })
      letters.push(meant)
      escaping = false
    }
    yield Buffer.from(letters.join(''), 'latin1')
  }
}
