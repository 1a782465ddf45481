import type { Format } from './formats.js'

/** Everything that decides an image, in the field's standard names. Sent again, it gives the same bytes. */
export interface Recipe {
  readonly prompt: string
  readonly negative_prompt: string
  readonly seed: number
  readonly num_inference_steps: number
  readonly guidance_scale: number
  readonly scheduler: string
  readonly width: number
  readonly height: number
  readonly output_format: Format
  /** Of JPEG and WebP. */
  readonly quality?: number
  /** Where not all steps are guided, or the server's own defaults say so. */
  readonly guidance_start?: number
  readonly guidance_end?: number
  readonly cache_interval?: number
  /** Where a prompt was cut to fit: it stands here whole, and is cut again. */
  readonly truncate?: true
  /** The model's name, and the digest of its weights. */
  readonly model: string
  readonly model_digest: string
  /** Easel's release. */
  readonly version: string
}

/** A header must stay well under the 8 KiB that common proxies take for all of them. */
const MAX_HEADER_BYTES = 4096

/**
 * The recipe as a header's value: JSON in ASCII. Where the prompts make it too long for a header, they are left out:
 * the client has them, and the image carries the whole.
 */
export function recipeHeader(recipe: Recipe): string {
  const whole = asciiJson(recipe)
  if (whole.length <= MAX_HEADER_BYTES) return whole
  const { prompt: _prompt, negative_prompt: _negative, ...rest } = recipe
  return asciiJson(rest)
}

/** JSON with every character beyond ASCII escaped, for places that take no other. */
export function asciiJson(value: object): string {
  return JSON.stringify(value).replaceAll(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
