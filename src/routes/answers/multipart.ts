import { randomUUID } from 'node:crypto'
import { recipeHeader } from '../../image/recipe.js'
import { mimeOf } from '../../image/formats.js'
import type { Finished, ImageFile } from '../../service/run.js'
import type { Piece } from './body.js'

/**
 * All images in order, each a part of one multipart/mixed body.
 *
 * @see https://www.rfc-editor.org/rfc/rfc2046#section-5.1.3
 */
export function multipartAnswer({ images }: Finished, withRecipe: boolean): { type: string; pieces: Piece[] } {
  const boundary = `easel-${randomUUID()}`
  const parts = images.flatMap((image) => [partHead(image, boundary, withRecipe), image.bytes, '\r\n'])
  return { type: `multipart/mixed; boundary=${boundary}`, pieces: [...parts, `--${boundary}--\r\n`] }
}

function partHead({ index, seed, format, bytes, recipe }: ImageFile, boundary: string, withRecipe: boolean): string {
  return [
    `--${boundary}`,
    `content-type: ${mimeOf(format)}`,
    `content-length: ${bytes.length}`,
    `content-disposition: inline; filename="${index}-${seed}.${format}"`,
    `easel-seed: ${seed}`,
    ...(withRecipe ? [`easel-recipe: ${recipeHeader(recipe)}`] : []),
    '',
    ''
  ].join('\r\n')
}
