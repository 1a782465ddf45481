import { Type } from 'typebox'
import { ascii, recipeHeader } from '../../image/recipe.js'
import { chipSecondsJson } from '../../service/chip-seconds.js'
import type { Finished, Run, RunTimings } from '../../service/run.js'

/** Schemas of the headers from `answerHeaders`, for the OpenAPI document. */
export const answerHeaderSchemas = {
  'easel-seed': Type.String({ description: 'The seed of each image, separated by commas.' }),
  'easel-recipe': Type.String({
    description: "The first image's recipe as ASCII JSON, without the prompts if they are long."
  }),
  'easel-truncated': Type.String({ description: 'Names of the prompt fields that were cut to fit.' }),
  'easel-tokens': Type.String({
    description:
      'The number of tokens of each prompt by its field, before any cut, without start, end and padding: `prompt=12, negative_prompt=9`.'
  }),
  'easel-chunks': Type.String({ description: 'The number of chunks of 75 tokens in which the prompts are encoded.' }),
  'easel-chip-seconds': Type.String({
    description: 'Seconds that the chips worked for the request, times the number of chips.'
  }),
  'easel-warning': Type.String({
    description:
      'What is probably not meant as it is read, e.g. a weight in a plain prompt, or a LoRA for few steps with many. ASCII; other characters as in JSON.'
  }),
  'idempotent-replayed': Type.String({
    description: '`true` if this is the stored answer to an earlier request with the same key.'
  }),
  'server-timing': Type.String({
    description: 'Where the time went, in ms: queue, encode, denoise, decode, file, total.'
  })
}

/** Headers of every successful answer. */
export function answerHeaders(
  run: Run,
  { images, timings, used }: Finished,
  withRecipe: boolean
): Record<string, string> {
  const first = images[0]!
  const { truncated, warnings, usage } = run.prompts
  return {
    'easel-seed': images.map(({ seed }) => seed).join(', '),
    'server-timing': serverTiming(timings),
    ...(withRecipe ? { 'easel-recipe': recipeHeader(first.recipe) } : {}),
    'easel-tokens': Object.entries(usage.tokens)
      .map(([field, tokens]) => `${field}=${tokens}`)
      .join(', '),
    'easel-chunks': String(usage.chunks),
    ...(used === undefined ? {} : { 'easel-chip-seconds': String(chipSecondsJson(used).total) }),
    ...(truncated.length > 0 ? { 'easel-truncated': truncated.join(', ') } : {}),
    ...(warnings.length > 0 ? { 'easel-warning': ascii(warnings.join('; ')) } : {})
  }
}

/** @see https://www.w3.org/TR/server-timing/ */
function serverTiming(timings: RunTimings): string {
  return Object.entries(timings)
    .map(([name, ms]) => `${name.replace(/_ms$/, '')};dur=${(ms as number).toFixed(1)}`)
    .join(', ')
}
