import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { EaselError } from '../../src/errors.js'

/** Uploads in memory: what a reader stored, by field. */
export class Taken {
  readonly files = new Map<string, Buffer>()

  async take(field: string, chunks: AsyncIterable<Buffer>) {
    if (this.files.has(field)) throw new EaselError('INVALID_REQUEST', `${field} is given more than once`, { field })
    const parts: Buffer[] = []
    for await (const chunk of chunks) parts.push(chunk)
    const file = Buffer.concat(parts)
    this.files.set(field, file)
    return { field, bytes: file.length, sha256: sha256(file), read: async () => file }
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Sizes of the pieces in which a body arrives. */
export const pieceSizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 })

/** The bytes in pieces of these sizes, over and over. */
export function inPieces(bytes: Uint8Array, sizes: readonly number[]): Readable {
  const pieces: Buffer[] = []
  for (let at = 0, i = 0; at < bytes.length; at += sizes[i++ % sizes.length]!)
    pieces.push(Buffer.from(bytes.subarray(at, at + sizes[i % sizes.length]!)))
  return Readable.from(pieces, { objectMode: true })
}

export async function collected(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const chunk of chunks) parts.push(chunk)
  return Buffer.concat(parts)
}

/** Refuses more text than this. */
export function atMost(limit: number): (bytes: number) => void {
  return (bytes) => {
    if (bytes > limit) throw new EaselError('BODY_TOO_LARGE', `more than ${limit} bytes`)
  }
}
