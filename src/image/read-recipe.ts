import sharp from 'sharp'
import { recipeTextOf } from './xmp.js'

/** More pixels than any model makes: a file that claims more is not looked into. */
const MAX_PIXELS = 8192 * 8192

/**
 * The JSON that `ImageEncoder` wrote into a file, parsed but not checked; undefined where there is none.
 *
 * @throws when it is not an image
 */
export async function readRecipe(file: Uint8Array): Promise<unknown> {
  const { comments, xmp } = await sharp(file, { limitInputPixels: MAX_PIXELS }).metadata()
  const text = comments?.find(({ keyword }) => keyword === 'easel')?.text ?? (xmp && recipeTextOf(xmp.toString()))
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as unknown
  } catch {
    // Another program's words under our keyword.
    return undefined
  }
}
