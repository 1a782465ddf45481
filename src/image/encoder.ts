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

export interface FileOptions {
  readonly format: Format
  /** 1 to 100, for JPEG and WebP. PNG is lossless and ignores it. */
  readonly quality: number
  /** The recipe to embed; undefined for none. */
  readonly recipe: Recipe | undefined
}

export interface EncoderOptions {
  /** zlib compression level for PNG, 0 to 9. */
  pngCompression: number
  /** Maximum files encoded at once. */
  concurrency: number
}

/** JPEG quality of previews. Low is enough: they are small and replaced within a second. */
const PREVIEW_QUALITY = 70
/** From this quality on, JPEG keeps chroma at full resolution. */
const FULL_COLOUR_QUALITY = 90

/**
 * Encodes pixels to files on libuv's threads, never on the event loop.
 *
 * Runs at most `concurrency` jobs at once. With many more jobs than cores, the kernel starves the event loop, and
 * `/health` stalls.
 */
export class ImageEncoder {
  readonly #limit: ReturnType<typeof pLimit>
  readonly #pngCompression: number

  constructor({ pngCompression, concurrency }: EncoderOptions) {
    this.#limit = pLimit(concurrency)
    // No image is encoded twice, so the cache never hits; its lookups cost 4 % of the time.
    sharp.cache(false)
    this.#pngCompression = pngCompression
  }

  /**
   * Encodes a picture to a file with its recipe embedded. Deterministic: the same arguments give the same bytes.
   *
   * @throws the signal's reason if it fires before encoding starts
   */
  encode(picture: Picture, options: FileOptions, signal?: AbortSignal): Promise<Buffer> {
    return this.#limit(() => {
      signal?.throwIfAborted()
      return options.format === 'png' ? this.#png(picture, options) : lossy(picture, options)
    })
  }

  /** A JPEG preview. */
  preview(picture: Picture): Promise<Buffer> {
    return this.#limit(() => open(picture).jpeg({ quality: PREVIEW_QUALITY }).toBuffer())
  }

  async #png(picture: Picture, { recipe }: FileOptions): Promise<Buffer> {
    const png = await open(picture)
      // Choose filters row by row. Without filters, grainy pictures hardly compress.
      .png({ compressionLevel: this.#pngCompression, adaptiveFiltering: true })
      .toBuffer()
    return pngWith(
      png,
      recipe === undefined ? {} : { parameters: parametersText(recipe), easel: JSON.stringify(recipe) }
    )
  }
}

/** Embeds the recipe in EXIF, where viewers look but long prompts are cut, and whole in XMP. */
async function lossy(picture: Picture, { format, quality, recipe }: FileOptions): Promise<Buffer> {
  // At high quality, chroma subsampling at edges would be more visible than the compression.
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
