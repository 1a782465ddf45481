import type { GenerateRequest, Recipe } from '../api/types.js'

/** The form, as a person left it. Numbers left empty are undefined: then the server decides. */
export interface Settings {
  prompt: string
  negative_prompt: string
  size: string
  num_inference_steps: number | undefined
  guidance_scale: number | undefined
  seed: number | undefined
  num_images: number | undefined
  scheduler: string
  output_format: 'png' | 'jpeg' | 'webp'
  quality: number | undefined
  previews: boolean
  truncate: boolean
}

/** How many previews a picture gets on its way, about. */
const PREVIEWS = 8

export function sizeName(width: number, height: number): string {
  return `${width}×${height}`
}

/** The request that these settings ask for. */
export function toRequest(settings: Settings, steps: number): GenerateRequest {
  const [width, height] = settings.size.split('×').map(Number)
  return {
    prompt: settings.prompt.trim(),
    ...(settings.negative_prompt.trim() === '' ? {} : { negative_prompt: settings.negative_prompt.trim() }),
    ...(width === undefined || height === undefined ? {} : { width, height }),
    ...given('num_inference_steps', settings.num_inference_steps),
    ...given('guidance_scale', settings.guidance_scale),
    ...given('seed', settings.seed),
    ...(settings.scheduler === '' ? {} : { scheduler: settings.scheduler }),
    num_images: settings.num_images ?? 1,
    output_format: settings.output_format,
    ...(settings.output_format === 'png' ? {} : given('quality', settings.quality)),
    ...(settings.truncate ? { truncate: true } : {}),
    preview_interval: settings.previews ? Math.max(1, Math.round(steps / PREVIEWS)) : 0
  }
}

function given<K extends string>(name: K, value: number | undefined): { [P in K]?: number } {
  return value === undefined ? {} : ({ [name]: value } as { [P in K]: number })
}

/** The settings that make a picture of this recipe again. */
export function fromRecipe(recipe: Recipe): Partial<Settings> {
  return {
    prompt: recipe.prompt,
    negative_prompt: recipe.negative_prompt,
    size: sizeName(recipe.width, recipe.height),
    num_inference_steps: recipe.num_inference_steps,
    guidance_scale: recipe.guidance_scale,
    seed: recipe.seed,
    num_images: 1,
    scheduler: recipe.scheduler
  }
}

/** The request that makes the picture of this recipe again, in the same kind of file. */
export function requestOf(recipe: Recipe, mimeType: string): GenerateRequest {
  const { prompt, negative_prompt, width, height, num_inference_steps, guidance_scale, seed, scheduler } = recipe
  const format = mimeType.replace('image/', '')
  return {
    prompt,
    ...(negative_prompt === '' ? {} : { negative_prompt }),
    width,
    height,
    num_inference_steps,
    guidance_scale,
    seed,
    scheduler,
    ...(format === 'jpeg' || format === 'webp' ? { output_format: format } : {})
  }
}
