import { Type } from 'typebox'
import { recipeHeader } from '../../image/recipe.js'
import type { Finished, Run, RunTimings } from '../../service/run.js'

/** Schemas of the headers from `answerHeaders`, for the OpenAPI document. */
export const answerHeaderSchemas = {
  'easel-seed': Type.String({ description: 'The seed of each image, separated by commas.' }),
  'easel-recipe': Type.String({
    description: "The first image's recipe as ASCII JSON, without the prompts if they are long."
  }),
  'easel-truncated': Type.String({ description: 'Names of the prompt fields that were cut to fit.' }),
  'idempotent-replayed': Type.String({
    description: '`true` if this is the stored answer to an earlier request with the same key.'
  }),
  'server-timing': Type.String({
    description: 'Where the time went, in ms: queue, encode, denoise, decode, file, total.'
  })
}

/** Headers of every successful answer. */
export function answerHeaders(run: Run, { images, timings }: Finished, withRecipe: boolean): Record<string, string> {
  const first = images[0]!
  return {
    'easel-seed': images.map(({ seed }) => seed).join(', '),
    'server-timing': serverTiming(timings),
    ...(withRecipe ? { 'easel-recipe': recipeHeader(first.recipe) } : {}),
    ...(run.truncated.length > 0 ? { 'easel-truncated': run.truncated.join(', ') } : {})
  }
}

/** @see https://www.w3.org/TR/server-timing/ */
function serverTiming(timings: RunTimings): string {
  return Object.entries(timings)
    .map(([name, ms]) => `${name.replace(/_ms$/, '')};dur=${(ms as number).toFixed(1)}`)
    .join(', ')
}
