import sharp, { type Metadata, type Sharp } from 'sharp'
import { isAnimatedPng, kindOf, READABLE } from './kind.js'
import type { Pixels, Size } from './pixels.js'

/** Why a file cannot be used as a picture. Each is a label value of `easel_pictures_refused_total`. */
export type PictureProblem = 'format' | 'animated' | 'pixels' | 'broken' | 'slow'

/** A file that cannot be used as a picture. The message follows the field's name. */
export class PictureError extends Error {
  readonly problem: PictureProblem

  constructor(problem: PictureProblem, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'PictureError'
    this.problem = problem
  }
}

export interface DecodeLimits {
  /** Most pixels, width times height. */
  readonly maxPixels: number
  /** Seconds that decoding one file may take. */
  readonly seconds: number
}

/**
 * The size of a picture as it is shown, upright. Reads the header only.
 *
 * @throws PictureError
 */
export async function sizeOf(file: Buffer, limits: DecodeLimits): Promise<Size> {
  const kind = kindOf(file)
  if ('refused' in kind)
    throw new PictureError(
      'format',
      kind.refused === undefined
        ? `is not a picture that this server reads: send a ${READABLE} file`
        : `has the format ${kind.refused}: send a ${READABLE} file`
    )
  let metadata: Metadata
  try {
    // The header alone: the limit is checked below, with a message that says the size.
    metadata = await open(file, { maxPixels: Infinity }).metadata()
  } catch (error) {
    throw broken(error)
  }
  if (metadata.format !== kind.format) throw broken(new Error(`read as ${metadata.format}`))
  const animated = kind.format === 'png' ? isAnimatedPng(file) : (metadata.pages ?? 1) > 1
  if (animated === undefined) throw broken(new Error('too many chunks'))
  if (animated) throw new PictureError('animated', 'is animated: send a still picture')
  const { width, height } = metadata.autoOrient
  if (width * height > limits.maxPixels)
    throw new PictureError(
      'pixels',
      `has ${width}x${height} pixels: the most is ${limits.maxPixels}, send a smaller one`
    )
  return { width, height }
}

/**
 * Decodes a picture to RGB as diffusers' `load_image` does: turned upright by its EXIF orientation, alpha dropped and
 * not blended. Colours are converted to sRGB, from an embedded ICC profile, CMYK, grey, or 16 bits.
 *
 * @param file one for which `sizeOf` gave a size
 * @throws PictureError also for a file that ends early
 * @see https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/utils/loading_utils.py#L14-L54
 */
export async function decode(file: Buffer, limits: DecodeLimits): Promise<Pixels> {
  return pixelsOf(open(file, limits).removeAlpha(), limits, 3)
}

/**
 * The alpha of a picture, upright, as one channel.
 *
 * @param file one for which `sizeOf` gave a size
 * @throws PictureError also for one without alpha
 */
export async function decodeAlpha(file: Buffer, limits: DecodeLimits): Promise<Pixels> {
  const alpha = await alphaOf(file, limits)
  if (alpha === undefined)
    throw new PictureError(
      'format',
      'has no transparency, which says what to repaint: send a PNG or WebP with alpha, or mask_from white'
    )
  return alpha
}

/**
 * Whether any pixel of a picture is more transparent than not, so that the picture can be its own mask.
 *
 * @param file one for which `sizeOf` gave a size
 * @throws PictureError
 */
export async function hasHoles(file: Buffer, limits: DecodeLimits): Promise<boolean> {
  const alpha = await alphaOf(file, limits)
  return alpha !== undefined && alpha.data.some((value) => value < 128)
}

async function alphaOf(file: Buffer, limits: DecodeLimits): Promise<Pixels | undefined> {
  const { hasAlpha } = await sharp(file, { limitInputPixels: false }).metadata()
  return hasAlpha ? pixelsOf(open(file, limits).ensureAlpha().extractChannel('alpha'), limits, 1) : undefined
}

async function pixelsOf(image: Sharp, { seconds }: DecodeLimits, channels: 1 | 3): Promise<Pixels> {
  try {
    const { data, info } = await image
      .raw({ depth: 'uchar' })
      .timeout({ seconds })
      .toBuffer({ resolveWithObject: true })
    if ((info.channels as number) !== channels) throw new Error(`${info.channels} channels`)
    return { width: info.width, height: info.height, channels, data }
  } catch (error) {
    if (/timeout/i.test((error as Error).message))
      throw new PictureError('slow', `takes more than ${seconds} s to decode: send a smaller one`, error)
    throw broken(error)
  }
}

function open(file: Buffer, { maxPixels }: Pick<DecodeLimits, 'maxPixels'>): Sharp {
  // Without failOn, a file that ends early would be grey below. `error` does not refuse odd metadata.
  return sharp(file, { failOn: 'error', limitInputPixels: Number.isFinite(maxPixels) && maxPixels, animated: false })
    .autoOrient()
    .toColourspace('srgb')
}

function broken(cause: unknown): PictureError {
  const pixels = /pixel limit/.test((cause as Error).message)
  if (pixels) return new PictureError('pixels', 'has too many pixels: send a smaller one', cause)
  return new PictureError('broken', 'cannot be decoded: the file is damaged or ends early', cause)
}
