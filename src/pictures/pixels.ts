/** Decoded pixels: rows from the top, no padding, 8 bits a channel. */
export interface Pixels {
  readonly width: number
  readonly height: number
  /** RGB, or one channel of luminance. */
  readonly channels: 1 | 3
  /** width · height · channels bytes. */
  readonly data: Buffer
}

export interface Size {
  readonly width: number
  readonly height: number
}

/** The RGB pixels of an image from a worker; the bytes are not copied. */
export function rgbOf({ width, height }: Size, { buffer, byteOffset, byteLength }: Uint8Array): Pixels {
  return { width, height, channels: 3, data: Buffer.from(buffer, byteOffset, byteLength) }
}
