import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'

/** A part of an answer: text, raw bytes, or bytes to encode as base64. */
export type Piece = string | Buffer | { readonly base64: Buffer }

/** Bytes in a slice before base64. A multiple of three, so that slices need no padding between them. */
const SLICE_BYTES = 48 * 1024

/** Answers up to this size are sent in one write. */
const SMALL_BYTES = 256 * 1024

/**
 * Sends the pieces in order and encodes them as the client reads. An answer of any length costs a few slices of memory
 * on top of its files, which all answers with the same images share.
 */
export function sendPieces(reply: FastifyReply, type: string, pieces: readonly Piece[]): FastifyReply {
  const bytes = pieces.reduce((sum, piece) => sum + bytesOf(piece), 0)
  reply.type(type).header('content-length', bytes)
  if (bytes <= SMALL_BYTES) return reply.send(Buffer.concat([...slicesOf(pieces)]))
  return reply.send(Readable.from(slicesOf(pieces), { objectMode: false, highWaterMark: SLICE_BYTES }))
}

/** Yields the encoded pieces in order, in small slices. */
export function* slicesOf(pieces: Iterable<Piece>): Generator<Buffer> {
  for (const piece of pieces) {
    if (typeof piece === 'string') yield Buffer.from(piece)
    else if (Buffer.isBuffer(piece)) yield* cut(piece)
    else for (const slice of cut(piece.base64)) yield Buffer.from(slice.toString('base64'), 'latin1')
  }
}

function* cut(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += SLICE_BYTES) yield bytes.subarray(at, at + SLICE_BYTES)
}

function bytesOf(piece: Piece): number {
  if (typeof piece === 'string') return Buffer.byteLength(piece)
  return Buffer.isBuffer(piece) ? piece.length : Math.ceil(piece.base64.length / 3) * 4
}

/** JSON of `object` with a last field added: `prefix` followed by the file in base64. */
export function jsonWithFile(object: object, field: string, file: Buffer, prefix = ''): Piece[] {
  const fields = JSON.stringify(object).slice(0, -1)
  return [`${fields}${fields === '{' ? '' : ','}"${field}":"${prefix}`, { base64: file }, '"}']
}

/** Concatenates lists of pieces, with `separator` between them. */
export function joined(lists: readonly (readonly Piece[])[], separator: string): Piece[] {
  return lists.flatMap((list, index) => (index === 0 ? list : [separator, ...list]))
}
