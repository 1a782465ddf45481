import { crc32, deflateSync } from 'node:zlib'

const SIGNATURE_BYTES = 8
/** Signature, then IHDR: 4 bytes of length, 4 of type, 13 of data, 4 of CRC. */
const AFTER_IHDR = SIGNATURE_BYTES + 4 + 4 + 13 + 4
/** Shorter texts are not worth compressing, in bytes. */
const COMPRESS_FROM = 1024

/** Declares sRGB colours with perceptual rendering intent. */
const SRGB = chunk('sRGB', Buffer.from([0]))

/**
 * Inserts an sRGB chunk and iTXt chunks (UTF-8) directly after a PNG's header. sharp writes neither. Removes the
 * default resolution of 25.4 dpi that sharp does write.
 *
 * @param png a PNG file made by sharp
 * @param texts keyword (1 to 79 Latin-1 characters) to text
 * @see https://www.w3.org/TR/png-3/#11sRGB
 * @see https://www.w3.org/TR/png-3/#11iTXt
 */
export function pngWith(png: Buffer, texts: Readonly<Record<string, string>>): Buffer {
  const chunks = Object.entries(texts).map(([keyword, text]) => internationalText(keyword, text))
  return Buffer.concat([png.subarray(0, AFTER_IHDR), SRGB, ...chunks, png.subarray(afterResolution(png))])
}

/** The offset of the first chunk after the header, skipping a resolution chunk there. */
function afterResolution(png: Buffer): number {
  const resolution = png.toString('latin1', AFTER_IHDR + 4, AFTER_IHDR + 8) === 'pHYs'
  return resolution ? AFTER_IHDR + 12 + png.readUInt32BE(AFTER_IHDR) : AFTER_IHDR
}

function internationalText(keyword: string, text: string): Buffer {
  const utf8 = Buffer.from(text.replaceAll('\0', '\uFFFD'))
  const compressed = utf8.length >= COMPRESS_FROM
  // Keyword, terminator, compression flag, compression method, empty language tag, empty translated keyword.
  const head = Buffer.concat([Buffer.from(keyword, 'latin1'), Buffer.from([0, compressed ? 1 : 0, 0, 0, 0])])
  return chunk('iTXt', Buffer.concat([head, compressed ? deflateSync(utf8) : utf8]))
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const framed = Buffer.alloc(body.length + 8)
  framed.writeUInt32BE(data.length, 0)
  body.copy(framed, 4)
  framed.writeUInt32BE(crc32(body), body.length + 4)
  return framed
}
