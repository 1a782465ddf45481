import { mimeOf } from '../../image/formats.js'
import type { Finished, ImageFile, Run } from '../../service/run.js'
import { joined, jsonWithFile, type Piece } from './body.js'

/** All images of a request as a `GenerateResponse`. */
export function jsonAnswer(run: Run, { images, timings }: Finished, withRecipe: boolean): Piece[] {
  const rest = JSON.stringify({ timings, ...promptsJson(run) }).slice(1)
  return [
    `{"id":${JSON.stringify(run.id)},"images":[`,
    ...joined(
      images.map((image) => imageJson(image, withRecipe)),
      ','
    ),
    `],${rest}`
  ]
}

/** What an answer says about its prompts. */
export function promptsJson({ prompts: { truncated, warnings, usage } }: Run) {
  const { chunks, tokens } = usage
  return { truncated, warnings, usage: { chunks, tokens } }
}

/**
 * One image's metadata, and its file in base64.
 *
 * @param more fields to put first
 */
export function imageJson(
  { index, seed, format, width, height, bytes, recipe }: ImageFile,
  withRecipe: boolean,
  more: object = {}
): Piece[] {
  return jsonWithFile(
    { ...more, index, seed, mime_type: mimeOf(format), width, height, ...(withRecipe ? { recipe } : {}) },
    'data',
    bytes
  )
}
