import pLimit from 'p-limit'
import sharp, { type Sharp } from 'sharp'
import { exifOf } from './exif.js'
import type { Format } from './formats.js'
import { jpegWith } from './jpeg.js'
import { parametersText } from './parameters.js'
import { pngWith } from './png.js'
import type { Recipe } from './recipe.js'
import { webpWith } from './webp.js'
import { xmpOf } from './xmp.js'

export interface Picture {
  readonly width: number
  readonly height: number
  /** RGB, width · height · 3 bytes. */
  readonly pixels: Uint8Array
}

export interface FileSettings {
  readonly format: Format
  /** 1 to 100, of JPEG and WebP; PNG loses nothing. */
  readonly quality: number
  /** What the file is to carry; undefined for nothing. */
  readonly recipe: Recipe | undefined
}

export interface EncoderOptions {
  /** zlib level of PNG, 0 to 9. */
  pngCompression: number
  /** Most files that are made at once. */
  concurrency: number
}

/** JPEG quality of previews: they are small, and gone in a second. */
const PREVIEW_QUALITY = 70
/** JPEG keeps colour at full resolution from this quality on. */
const FULL_COLOUR_QUALITY = 90

/**
 * Makes files from pixels, on libuv's threads and never on the event loop.
 *
 * As many at once as `concurrency`: with many more than there are cores, the event loop waits for the kernel to give it
 * a turn, and `/health` with it.
 */
export class ImageEncoder {
  readonly #limit: ReturnType<typeof pLimit>
  readonly #pngCompression: number

  constructor({ pngCompression, concurrency }: EncoderOptions) {
    this.#limit = pLimit(concurrency)
    // Nothing is ever made twice here: looking for it costs 4 % of the time.
    sharp.cache(false)
    this.#pngCompression = pngCompression
  }

  /**
   * A picture as a file that carries its recipe. Given the same arguments it gives the same bytes.
   *
   * @throws the signal's reason when it has fired before the file's turn comes
   */
  encode(picture: Picture, settings: FileSettings, signal?: AbortSignal): Promise<Buffer> {
    return this.#limit(() => {
      signal?.throwIfAborted()
      return settings.format === 'png' ? this.#png(picture, settings) : lossy(picture, settings)
    })
  }

  /** A small JPEG for a glance. */
  preview(picture: Picture): Promise<Buffer> {
    return this.#limit(() => open(picture).jpeg({ quality: PREVIEW_QUALITY }).toBuffer())
  }

  async #png(picture: Picture, { recipe }: FileSettings): Promise<Buffer> {
    const png = await open(picture)
      // Filters chosen row by row: without them a picture with grain is hardly smaller than its pixels.
      .png({ compressionLevel: this.#pngCompression, adaptiveFiltering: true })
      .toBuffer()
    return pngWith(
      png,
      recipe === undefined ? {} : { parameters: parametersText(recipe), easel: JSON.stringify(recipe) }
    )
  }
}

/** The recipe stands where viewers look for it (EXIF), and whole (XMP). */
async function lossy(picture: Picture, { format, quality, recipe }: FileSettings): Promise<Buffer> {
  // From here on the eye would see coarse colour at the edges sooner than the quality.
  const chromaSubsampling = quality >= FULL_COLOUR_QUALITY ? '4:4:4' : '4:2:0'
  const image = open(picture)
  const file = await (
    format === 'jpeg' ? image.jpeg({ quality, chromaSubsampling }) : image.webp({ quality })
  ).toBuffer()
  if (recipe === undefined) return file
  const metadata = { exif: exifOf(recipe), xmp: xmpOf(recipe) }
  return format === 'jpeg'
    ? jpegWith(file, metadata)
    : webpWith(file, { ...metadata, width: picture.width, height: picture.height })
}

function open({ pixels, width, height }: Picture): Sharp {
  return sharp(pixels, { raw: { width, height, channels: 3 } })
}
