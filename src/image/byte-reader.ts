/** Reads a byte stream forwards. Buffers at most the bytes asked for and one chunk of the stream. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** The next `count` bytes; undefined if the stream ends first. */
  async take(count: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = []
    let missing = count
    while (missing > 0) {
      if (this.#rest.length === 0 && !(await this.#more())) return undefined
      const part = this.#rest.subarray(0, missing)
      this.#rest = this.#rest.subarray(part.length)
      parts.push(part)
      missing -= part.length
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts)
  }

  /** Like `take`, but does not consume the bytes. */
  async peek(count: number): Promise<Buffer | undefined> {
    const bytes = await this.take(count)
    if (bytes !== undefined) this.#rest = Buffer.concat([bytes, this.#rest])
    return bytes
  }

  /** Skips `count` bytes; false if the stream ends first. */
  async skip(count: number): Promise<boolean> {
    let missing = count
    while (missing > this.#rest.length) {
      missing -= this.#rest.length
      if (!(await this.#more())) return false
    }
    this.#rest = this.#rest.subarray(missing)
    return true
  }

  /** Discards the rest of the stream. */
  async drain(): Promise<void> {
    while (await this.#more());
  }

  /** Releases the stream without reading the rest. */
  async end(): Promise<void> {
    await this.#chunks.return?.()
  }

  async #more(): Promise<boolean> {
    const { value, done } = await this.#chunks.next()
    this.#rest = done === true ? Buffer.alloc(0) : value
    return done !== true
  }
}
