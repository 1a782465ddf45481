import { deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'
import { pngChunk } from './image-files.js'

export interface Shape {
  width: number
  height: number
}

/** Raw pixels by a function of x, y and the channel. */
export function rawPixels(
  { width, height }: Shape,
  channels: 1 | 2 | 3 | 4,
  value: (x: number, y: number, channel: number) => number
): Buffer {
  return Buffer.from(
    Array.from({ length: width * height * channels }, (_, i) => {
      const at = Math.floor(i / channels)
      return value(at % width, Math.floor(at / width), i % channels)
    })
  )
}

/** A picture to encode with sharp. */
export function drawn(
  size: Shape,
  channels: 1 | 2 | 3 | 4 = 3,
  value: (x: number, y: number, channel: number) => number = (x, y, channel) => (x * 5 + y * 3 + channel * 40) & 255
): Sharp {
  return sharp(rawPixels(size, channels, value), { raw: { ...size, channels } })
}

export interface PngParts extends Shape {
  depth?: number
  /** PNG's colour type: 0 grey, 2 RGB, 4 grey with alpha, 6 RGBA. */
  colour?: number
  interlaced?: boolean
  /** Filter bytes and samples, not yet compressed. */
  data: Buffer
  /** Chunks before the data. */
  before?: readonly Buffer[]
}

/** A PNG written by hand, which may be wrong. */
export function rawPng({
  width,
  height,
  depth = 8,
  colour = 2,
  interlaced = false,
  data,
  before = []
}: PngParts): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([depth, colour, 0, 0, interlaced ? 1 : 0], 8)
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    pngChunk('IHDR', header),
    ...before,
    pngChunk('IDAT', deflateSync(data)),
    pngChunk('IEND', Buffer.alloc(0))
  ])
}

/** A PNG of this many pixels whose data is all zero: a few kB for 100 megapixels. */
export function blackPng(size: Shape, more: Partial<PngParts> = {}): Buffer {
  const { depth = 8, colour = 2 } = more
  const channels = { 0: 1, 2: 3, 4: 2, 6: 4 }[colour]!
  return rawPng({ ...size, ...more, data: Buffer.alloc((1 + (size.width * channels * depth) / 8) * size.height) })
}
