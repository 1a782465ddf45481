import sharp from 'sharp'
import { withText } from './png-text.js'
import { parametersText, type Recipe } from './recipe.js'

export interface Picture {
  readonly width: number
  readonly height: number
  /** RGB, width · height · 3 bytes. */
  readonly pixels: Uint8Array
}

/**
 * Encodes a picture as a PNG that carries its recipe: under `parameters` as viewers read it, under `easel` as JSON.
 * The work runs on libuv's threads, never on the event loop.
 *
 * @param compression zlib level, 0 to 9
 */
export async function encodePng({ width, height, pixels }: Picture, recipe: Recipe, compression: number): Promise<Buffer> {
  const png = await sharp(pixels, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: compression })
    .toBuffer()
  return withText(png, { parameters: parametersText(recipe), easel: JSON.stringify(recipe) })
}
