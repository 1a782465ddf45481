// @ts-check
// Makes malicious image files.
import { crc32, deflateSync } from 'node:zlib'
import sharp from 'sharp'

const PNG_SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
/** One grey pixel. */
const IHDR = chunk('IHDR', Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]))
const IDAT = chunk('IDAT', deflateSync(Buffer.from([0, 128])))
const IEND = chunk('IEND', Buffer.alloc(0))
const XMP_HEAD =
  '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:easel="https://github.com/easel-serving/easel/ns/1.0/"><easel:recipe>'
const XMP_TAIL = '</easel:recipe></rdf:Description></rdf:RDF></x:xmpmeta>'
/** The largest data size of a JPEG segment, in bytes. */
const SEGMENT = 65_533

/**
 * Returns JSON of the given size: nested arrays.
 *
 * @param {number} bytes
 */
export function nestedJson(bytes) {
  return Buffer.concat([Buffer.alloc(bytes / 2, '['), Buffer.alloc(bytes / 2, ']')])
}

/**
 * Returns JSON of about the given size: an object with many small fields.
 *
 * @param {number} bytes
 */
export function wideJson(bytes) {
  return Buffer.from(`{${'"a":{"b":[1]},'.repeat(bytes / 14)}"z":0}`)
}

/**
 * Returns a PNG whose text chunk `easel` inflates to the given text.
 *
 * @param {Buffer} text
 * @param {number} [times] the number of such chunks
 */
export function pngBomb(text, times = 1) {
  const head = Buffer.from('easel\0\u0001\0\0\0', 'latin1')
  const one = chunk('iTXt', Buffer.concat([head, deflateSync(text, { level: 9 })]))
  return Buffer.concat([PNG_SIGNATURE, IHDR, Buffer.alloc(one.length * times, one), IDAT, IEND])
}

/**
 * Returns the beginning of a PNG of the given size; the rest is the data of one chunk.
 *
 * @param {'IDAT' | 'iTXt'} type
 * @param {number} bytes
 */
export function pngStart(type, bytes) {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes - PNG_SIGNATURE.length - IHDR.length - 12 - IEND.length)
  return Buffer.concat([
    PNG_SIGNATURE,
    IHDR,
    length,
    Buffer.from(type === 'iTXt' ? 'iTXteasel\0\0\0\0\0' : type, 'latin1')
  ])
}

/**
 * Returns a PNG with `count` tiny text chunks.
 *
 * @param {number} count
 */
export function pngOfChunks(count) {
  const one = chunk('tEXt', Buffer.from('a\0b', 'latin1'))
  return Buffer.concat([PNG_SIGNATURE, IHDR, Buffer.alloc(one.length * count, one), IDAT, IEND])
}

/**
 * Returns a WebP whose XMP packet has this JSON as its recipe.
 *
 * @param {Buffer} json
 */
export async function webpWithXmp(json) {
  const packet = Buffer.concat([Buffer.from(XMP_HEAD), json, Buffer.from(XMP_TAIL)])
  const plain = await sharp({ create: { width: 1, height: 1, channels: 3, background: 'grey' } })
    .webp({ lossless: true })
    .toBuffer()
  // The extended header: the XMP flag, three reserved bytes, and a canvas of 1 × 1.
  const extended = riff('VP8X', Buffer.from([0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
  const body = Buffer.concat([Buffer.from('WEBP'), extended, plain.subarray(12), riff('XMP ', packet)])
  return riff('RIFF', body)
}

/**
 * Returns a JPEG with this JSON as its recipe, in several XMP segments; a reader may use only the last one.
 *
 * @param {Buffer} json
 */
export async function jpegWithXmp(json) {
  const plain = await sharp({ create: { width: 1, height: 1, channels: 3, background: 'grey' } })
    .jpeg()
    .toBuffer()
  const name = Buffer.from('http://ns.adobe.com/xap/1.0/\0')
  const room = SEGMENT - name.length - XMP_HEAD.length - XMP_TAIL.length
  const segments = Array.from({ length: Math.ceil(json.length / room) }, (_, index) => {
    const data = Buffer.concat([
      name,
      Buffer.from(XMP_HEAD),
      json.subarray(index * room, (index + 1) * room),
      Buffer.from(XMP_TAIL)
    ])
    return Buffer.concat([Buffer.from([0xff, 0xe1, (data.length + 2) >> 8, (data.length + 2) & 255]), data])
  })
  return Buffer.concat([plain.subarray(0, 2), ...segments, plain.subarray(2)])
}

/**
 * Returns an SVG of about the given size.
 *
 * @param {number} bytes
 */
export function svg(bytes) {
  const shape = '<path d="M0 0L9 9"/>'
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1">${shape.repeat(bytes / shape.length)}</svg>`
  )
}

/**
 * Returns a pixel in a format that the service does not make.
 *
 * @param {'gif' | 'tiff' | 'avif'} format
 */
export function other(format) {
  return sharp({ create: { width: 16, height: 16, channels: 3, background: 'grey' } })
    .toFormat(format)
    .toBuffer()
}

/**
 * Returns a PNG whose header says this size. Its pixels are black, and no more than `bytes` of them are there.
 *
 * @param {{ side: number, depth?: 8 | 16, alpha?: boolean, interlaced?: boolean, bytes?: number, before?: Buffer }} picture
 */
export function blackPng({ side, depth = 8, alpha = false, interlaced = false, bytes, before = Buffer.alloc(0) }) {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(side, 0)
  header.writeUInt32BE(side, 4)
  header.set([depth, alpha ? 6 : 2, 0, 0, interlaced ? 1 : 0], 8)
  // Interlaced rows have a filter byte in each of the seven passes.
  const data = bytes ?? ((side * (alpha ? 4 : 3) * depth) / 8 + 1 + (interlaced ? 64 : 0)) * side
  return Buffer.concat([
    PNG_SIGNATURE,
    chunk('IHDR', header),
    before,
    chunk('IDAT', deflateSync(Buffer.alloc(data))),
    IEND
  ])
}

/**
 * Returns an ICC profile chunk that inflates to this many bytes.
 *
 * @param {number} bytes
 */
export function profileBomb(bytes) {
  return chunk('iCCP', Buffer.concat([Buffer.from('x\0\0'), deflateSync(Buffer.alloc(bytes))]))
}

/**
 * @param {string} type
 * @param {Buffer} data
 */
function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const framed = Buffer.alloc(body.length + 8)
  framed.writeUInt32BE(data.length, 0)
  body.copy(framed, 4)
  framed.writeUInt32BE(crc32(body), body.length + 4)
  return framed
}

/**
 * @param {string} type
 * @param {Buffer} data
 */
function riff(type, data) {
  const size = Buffer.alloc(4)
  size.writeUInt32LE(data.length)
  return Buffer.concat([Buffer.from(type), size, data, Buffer.alloc(data.length % 2)])
}
