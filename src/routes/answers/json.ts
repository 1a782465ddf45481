import { mimeOf } from '../../image/formats.js'
import { chipSecondsJson } from '../../service/chip-seconds.js'
import type { Finished, ImageFile, Run } from '../../service/run.js'
import { joined, jsonWithFile, type Piece } from './body.js'

/** All images of a request as a `GenerateResponse`. */
export function jsonAnswer(run: Run, { images, timings, used }: Finished, withRecipe: boolean): Piece[] {
  const rest = JSON.stringify({ timings, ...reportJson(run, used) }).slice(1)
  return [
    `{"id":${JSON.stringify(run.id)},"images":[`,
    ...joined(
      images.map((image) => imageJson(image, withRecipe)),
      ','
    ),
    `],${rest}`
  ]
}

/** What an answer says about its prompts, and what its images have used. */
export function reportJson({ prompts: { truncated, warnings, usage } }: Run, used: Finished['used']) {
  const { chunks, tokens } = usage
  const chips = used === undefined ? {} : { chip_seconds: chipSecondsJson(used) }
  return { truncated, warnings, usage: { chunks, tokens, ...chips } }
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
