import { crc32, deflateSync } from 'node:zlib'
import { pngWith as withTexts } from '../../src/image/png.js'

/** Returns a PNG of one pixel with these chunks after its header. */
export function pngWith(...chunks: readonly Buffer[]): Buffer {
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
  const header = pngChunk('IHDR', Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0]))
  return Buffer.concat([
    signature,
    header,
    ...chunks,
    pngChunk('IDAT', deflateSync(Buffer.from([0, 1, 2, 3]))),
    pngChunk('IEND', Buffer.alloc(0))
  ])
}

/** Returns a PNG of one pixel whose iTXt chunk `easel` contains a text, compressed if it is long. */
export function pngWithText(text: string): Buffer {
  return withTexts(pngWith(), { easel: text })
}

export function pngChunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)]
  length.writeUInt32BE(data.length)
  check.writeUInt32BE(crc32(body))
  return Buffer.concat([length, body, check])
}

/** Returns a WebP file without a picture, with an XMP chunk. */
export function webpWithXmp(xmp: Buffer): Buffer {
  const head = Buffer.alloc(8)
  head.write('XMP ', 'latin1')
  head.writeUInt32LE(xmp.length, 4)
  const chunks = Buffer.concat([Buffer.from('WEBP'), head, xmp, Buffer.alloc(xmp.length % 2)])
  const riff = Buffer.alloc(8)
  riff.write('RIFF', 'latin1')
  riff.writeUInt32LE(chunks.length, 4)
  return Buffer.concat([riff, chunks])
}

/** Returns JSON of the given nesting depth. */
export function nested(depth: number): string {
  return '{"a":['.repeat(depth) + ']}'.repeat(depth)
}
