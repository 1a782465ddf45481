import { addAbortSignal, type Readable } from 'node:stream'

/** A finished image's file. */
export interface ResultFile {
  readonly bytes: Buffer
  /** Its media type. */
  readonly type: string
}

/**
 * Keeps files under names such as `tenant/job/0.png`, and gives URLs to read them.
 *
 * Storing a name again replaces its file, which callers do only with the same bytes.
 */
export interface ResultStore {
  /** Equal for gateways that have the same files, and only for them. */
  readonly identity: string
  /**
   * Stores a file, whole or not at all.
   *
   * @param signal fires when the caller no longer waits
   * @throws Error when the store cannot take it; EaselError STORAGE_FULL when there is no room
   */
  put: (name: string, file: ResultFile, signal: AbortSignal) => Promise<void>
  /**
   * A URL that reads the file without other credentials, for `seconds`. A store that this gateway serves gives a path.
   *
   * @throws Error when it cannot be signed
   */
  urlOf: (name: string, seconds: number) => Promise<string>
  /**
   * A file's bytes; undefined if it does not exist.
   *
   * @param most bytes, beyond which it is not read
   * @param signal fires when the caller no longer waits
   * @throws Error when the store cannot read it, or it is longer
   */
  get: (name: string, most: number, signal: AbortSignal) => Promise<Buffer | undefined>
  /**
   * Deletes a file, if it exists.
   *
   * @throws Error when the store cannot, or may not
   */
  delete: (name: string, signal: AbortSignal) => Promise<void>
  close: () => void
}

/** What caches may do with a file: its name always has the same bytes, and only the holder of the URL may read it. */
export const CACHE_CONTROL = 'private, max-age=86400, immutable'

/** Reads a stream to its end. @throws Error when it has more than `most` bytes, or the signal fires */
export async function bytesOf(stream: Readable, most: number, signal: AbortSignal): Promise<Buffer> {
  const pieces: Buffer[] = []
  let length = 0
  for await (const piece of addAbortSignal(signal, stream) as AsyncIterable<Buffer>) {
    length += piece.length
    // Leaving the loop destroys the stream.
    if (length > most) throw new Error(`the file has more than its ${most} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}
