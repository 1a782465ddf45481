import { mimeOf } from '../../image/formats.js'
import type { Finished, MadeImage, Run } from '../../service/run.js'
import type { GenerateResponse } from '../../schemas/answer.js'

type ImageJson = GenerateResponse['images'][number]

/** All images of a request in one JSON document. */
export function jsonAnswer(run: Run, { images, timings }: Finished, withRecipe: boolean): GenerateResponse {
  return { id: run.id, images: images.map((image) => imageJson(image, withRecipe)), timings, truncated: [...run.truncated] }
}

/** One image: its bytes in base64, and what it is. */
export function imageJson({ index, seed, format, width, height, bytes, recipe }: MadeImage, withRecipe: boolean): ImageJson {
  return { index, seed, mime_type: mimeOf(format), width, height, data: bytes.toString('base64'), ...(withRecipe ? { recipe } : {}) }
}
