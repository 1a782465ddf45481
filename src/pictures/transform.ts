import sharp, { type Sharp } from 'sharp'
import type { Region } from './crop-region.js'
import { fitOf, type ResizeMode } from './fit.js'
import type { Pixels, Size } from './pixels.js'

/** Weights of R, G and B in luminance, as in PIL's convert("L"). */
const LUMINANCE: [number, number, number] = [0.299, 0.587, 0.114]

/** From this value on, a mask repaints: diffusers' binarize, 0.5 of 1. */
const THRESHOLD = 128

/** Brings pixels to a size. The borders of `fill` repeat the picture's edge. */
export async function resized(pixels: Pixels, target: Size, mode: ResizeMode): Promise<Pixels> {
  const { scaled: size, left, top } = fitOf(pixels, target, mode)
  const fitting = await scaled(pixels, size)
  if (mode === 'crop') return cropped(fitting, { left: -left, top: -top, width: target.width, height: target.height })
  const [right, bottom] = [target.width - left - size.width, target.height - top - size.height]
  if (Math.max(left, top, right, bottom) === 0) return fitting
  return toPixels(open(fitting).extend({ left, top, right, bottom, extendWith: 'copy' }), pixels.channels)
}

/** A PNG file of pixels. */
export function pngOf(pixels: Pixels): Promise<Buffer> {
  return open(pixels).png().toBuffer()
}

/** Brings a mask of one channel to a size, and then each pixel to 255 (repaint) or 0 (keep). */
export async function resizedMask(mask: Pixels, target: Size, mode: ResizeMode): Promise<Pixels> {
  return toPixels(open(await resized(mask, target, mode)).threshold(THRESHOLD), 1)
}

/** Luminance of RGB pixels. */
export async function luminance(pixels: Pixels): Promise<Pixels> {
  return toPixels(open(pixels).recomb([LUMINANCE, LUMINANCE, LUMINANCE]).extractChannel(0), 1)
}

/** The complement: 255 for 0. */
export async function inverted(pixels: Pixels): Promise<Pixels> {
  return toPixels(open(pixels).negate(), pixels.channels)
}

export async function cropped(pixels: Pixels, { left, top, width, height }: Region): Promise<Pixels> {
  if (left === 0 && top === 0 && isSize(pixels, { width, height })) return pixels
  return toPixels(open(pixels).extract({ left, top, width, height }), pixels.channels)
}

/**
 * The original picture with an image painted into a region of it, where the mask says so. Where the mask is between 0
 * and 255 both shine through.
 *
 * @param mask one channel, of the original's size, as sent: 255 shows the image, 0 the original
 * @see https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/image_processor.py#L789-L834
 */
export async function overlaid(image: Pixels, original: Pixels, mask: Pixels, region: Region): Promise<Pixels> {
  const painted = await resized(image, region, 'crop')
  const shown = await cropped(mask, region)
  const patch = await open(painted)
    .joinChannel(shown.data, { raw: { width: region.width, height: region.height, channels: 1 } })
    .png({ compressionLevel: 0 })
    .toBuffer()
  return toPixels(
    open(original)
      .composite([{ input: patch, left: region.left, top: region.top }])
      .removeAlpha(),
    3
  )
}

/** Brings pixels to a size with Lanczos' filter (3 lobes), or where they are enlarged with a bicubic one. */
async function scaled(pixels: Pixels, { width, height }: Size): Promise<Pixels> {
  const smaller = { width: Math.min(width, pixels.width), height: Math.min(height, pixels.height) }
  const reduced = isSize(pixels, smaller)
    ? pixels
    : await toPixels(
        open(pixels).resize(smaller.width, smaller.height, { fit: 'fill', kernel: 'lanczos3' }),
        pixels.channels
      )
  return isSize(reduced, { width, height }) ? reduced : enlarged(reduced, { width, height })
}

/** Pixels of edge that the bicubic filter may look at. */
const MARGIN = 4

/**
 * Enlarges pixels. Not with `resize`, which moves what it enlarges by half a pixel: libvips 8.18 maps the corner of an
 * output pixel, and not its centre, to the centre of an input pixel.
 *
 * @see https://github.com/libvips/libvips/blob/v8.18.2/libvips/resample/resize.c
 */
async function enlarged(pixels: Pixels, { width, height }: Size): Promise<Pixels> {
  const [across, down] = [axisOf(pixels.width, width), axisOf(pixels.height, height)]
  const edges = { left: MARGIN, right: MARGIN, top: MARGIN, bottom: MARGIN, extendWith: 'copy' } as const
  const wide = await toPixels(open(pixels).extend(edges), pixels.channels)
  const grown = await toPixels(
    open(wide).affine(
      [
        [across.scale, 0],
        [0, down.scale]
      ],
      { interpolator: 'bicubic', idx: across.offset, idy: down.offset, odx: -0.5, ody: -0.5 }
    ),
    pixels.channels
  )
  return cropped(grown, { left: across.start, top: down.start, width, height })
}

/** How `affine` maps one axis so that centres of pixels meet: output x shows input (x - start + 0.5) / scale - 0.5. */
function axisOf(from: number, to: number): { scale: number; offset: number; start: number } {
  const scale = to / from
  const start = Math.floor(MARGIN * scale)
  return { scale, offset: 0.5 + start / scale - MARGIN, start }
}

function isSize(pixels: Pixels, { width, height }: Size): boolean {
  return pixels.width === width && pixels.height === height
}

function open({ data, width, height, channels }: Pixels): Sharp {
  return sharp(data, { raw: { width, height, channels }, limitInputPixels: false })
}

async function toPixels(image: Sharp, channels: 1 | 3): Promise<Pixels> {
  const { data, info } = await image
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw()
    .toBuffer({ resolveWithObject: true })
  if ((info.channels as number) !== channels) throw new Error(`sharp made ${info.channels} channels, not ${channels}`)
  return { width: info.width, height: info.height, channels, data }
}
