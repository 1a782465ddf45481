/** Reads a stream of bytes forwards, piece by piece: it holds no more than one chunk of the stream and what is asked for. */
export class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** The next `count` bytes; undefined where the stream ends before. */
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

  /** As `take`, but the bytes are still to be read. */
  async peek(count: number): Promise<Buffer | undefined> {
    const bytes = await this.take(count)
    if (bytes !== undefined) this.#rest = Buffer.concat([bytes, this.#rest])
    return bytes
  }

  /** Leaves `count` bytes out; false where the stream ends before. */
  async skip(count: number): Promise<boolean> {
    let missing = count
    while (missing > this.#rest.length) {
      missing -= this.#rest.length
      if (!(await this.#more())) return false
    }
    this.#rest = this.#rest.subarray(missing)
    return true
  }

  /** Leaves out all that is left. */
  async drain(): Promise<void> {
    while (await this.#more());
  }

  /** Lets go of the stream, wherever it is. */
  async end(): Promise<void> {
    await this.#chunks.return?.()
  }

  async #more(): Promise<boolean> {
    const { value, done } = await this.#chunks.next()
    this.#rest = done === true ? Buffer.alloc(0) : value
    return done !== true
  }
}
