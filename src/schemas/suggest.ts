import { GenerateRequest } from './generate.js'

/** Names that other services and libraries use for our fields. */
const ALIASES: Readonly<Record<string, string>> = {
  steps: 'num_inference_steps',
  num_steps: 'num_inference_steps',
  sampling_steps: 'num_inference_steps',
  n: 'num_images',
  batch_size: 'num_images',
  n_iter: 'num_images',
  num_images_per_prompt: 'num_images',
  num_outputs: 'num_images',
  cfg: 'guidance_scale',
  cfg_scale: 'guidance_scale',
  guidance: 'guidance_scale',
  sampler: 'scheduler',
  sampler_name: 'scheduler',
  sampler_index: 'scheduler',
  random_seed: 'seed',
  noise_seed: 'seed',
  negative: 'negative_prompt',
  text: 'prompt',
  inputs: 'prompt',
  size: 'width and height',
  format: 'output_format',
  output_quality: 'quality'
}

const FIELDS = Object.keys(GenerateRequest.properties)

/** Maximum edit distance of a name that counts as a typo. */
const MAX_DISTANCE = 2
/** Longer names are not typos; also bounds the work for each one. */
const MAX_LENGTH = 40

/** The field of POST /generate that `name` probably means; undefined if none is similar. */
export function fieldLike(name: string): string | undefined {
  if (name.length > MAX_LENGTH) return undefined
  const lower = name
    .replaceAll(/([a-z])([A-Z])/g, '$1_$2')
    .replaceAll('-', '_')
    .toLowerCase()
  if (Object.hasOwn(ALIASES, lower)) return ALIASES[lower]
  const [best] = FIELDS.map((field) => ({ field, distance: distanceOf(lower, field) })).toSorted(
    (a, b) => a.distance - b.distance
  )
  return best !== undefined && best.distance <= MAX_DISTANCE ? best.field : undefined
}

/** Levenshtein distance. */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...b].entries())
      next.push(Math.min(next[j]! + 1, row[j + 1]! + 1, row[j]! + (letter === other ? 0 : 1)))
    row = next
  }
  return row.at(-1)!
}
