import type { Health, Known } from '../api/types.js'
import { sha256Of, type Size, sizeOf, typeOf } from '../lib/picture-file.js'

/** A picture to start from. */
export interface Start extends Size {
  readonly file: Blob
  /** Undefined where the browser has no digests. */
  readonly sha256: string | undefined
}

/** What a recipe says of the picture that it starts from. */
export type StartRecipe = Pick<Known, 'image_sha256' | 'mask_image_sha256'>

/** Why a file cannot be a picture to start from, in words for the visitor. */
export class StartProblem extends Error {}

/** diffusers' defaults of strength: without a mask, and with one. */
const STRENGTH = { image: 0.3, mask: 0.9999 } as const

/** How much "Vary" changes an image. */
const VARY_STRENGTH = 0.6

/**
 * Reads and checks a file.
 *
 * @param limits the server's, if it says them
 * @throws StartProblem
 */
export async function readStart(file: Blob, limits: Health['pictures'] | undefined): Promise<Start> {
  if (limits !== undefined && file.size > limits.max_bytes)
    throw new StartProblem(`This file is too large: the server takes at most ${bytes(limits.max_bytes)}.`)
  const type = await typeOf(file)
  if (type === undefined) throw new StartProblem('Only PNG, JPEG and WebP images can be used.')
  // In memory: the file may change on the disk before it is sent.
  const copy = new Blob([await file.arrayBuffer()], { type })
  const size = await sizeOf(copy).catch(() => {
    throw new StartProblem('This file is damaged.')
  })
  if (limits !== undefined && size.width * size.height > limits.max_pixels)
    throw new StartProblem(
      `This picture is too large: it has ${megapixels(size.width * size.height)}, the server takes at most ${megapixels(limits.max_pixels)}.`
    )
  return { file: copy, ...size, sha256: await sha256Of(copy) }
}

/** What the server uses as strength if the request states none. */
export function defaultStrength({ mask_image }: { readonly mask_image?: unknown }): number {
  return mask_image === undefined ? STRENGTH.image : STRENGTH.mask
}

/** The steps that run of a picture's request, as the server counts them. */
export function stepsRun(steps: number, strength: number): number {
  return Math.min(Math.trunc(steps * strength), steps)
}

/** The strength for a variation: moderate, but enough for one step. */
export function varyStrength(steps: number): number {
  return Math.max(VARY_STRENGTH, Math.ceil(100 / steps) / 100)
}

/** The size whose aspect ratio is nearest to the picture's, and of equals the one whose area is. */
export function nearestSize(
  { width, height }: Size,
  sizes: readonly (readonly number[])[]
): readonly number[] | undefined {
  const distance = (a: number, b: number) => Math.abs(Math.log(a / b))
  return sizes
    .map((size) => ({ size, across: size[0]!, down: size[1]! }))
    .map(({ size, across, down }) => ({
      size,
      ratio: distance(across / down, width / height),
      area: distance(across * down, width * height)
    }))
    .toSorted((a, b) => (Math.abs(a.ratio - b.ratio) > 1e-9 ? a.ratio - b.ratio : a.area - b.area))[0]?.size
}

function bytes(number: number): string {
  return number >= 2 ** 20 ? `${Math.floor((10 * number) / 2 ** 20) / 10} MiB` : `${Math.floor(number / 1024)} KiB`
}

function megapixels(number: number): string {
  return `${(number / 1e6).toFixed(1)} megapixels`
}
