import type { GenerateRequest, Known } from '../api/types.js'

/** The form, as a person left it. Numbers left empty are undefined: then the server decides. */
export interface Settings {
  prompt: string
  /** undefined before the server has said which one it has for requests without. */
  negative_prompt: string | undefined
  size: string
  num_inference_steps: number | undefined
  guidance_scale: number | undefined
  guidance_start?: number | undefined
  guidance_end?: number | undefined
  cache_interval?: number | undefined
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
    // Also when it is empty: the server may have one of its own for requests without.
    ...(settings.negative_prompt === undefined ? {} : { negative_prompt: settings.negative_prompt.trim() }),
    ...(width === undefined || height === undefined ? {} : { width, height }),
    ...given('num_inference_steps', settings.num_inference_steps),
    ...given('guidance_scale', settings.guidance_scale),
    ...given('guidance_start', settings.guidance_start),
    ...given('guidance_end', settings.guidance_end),
    ...given('cache_interval', settings.cache_interval),
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
export function fromRecipe(recipe: Omit<Known, 'truncate'> & Pick<GenerateRequest, 'truncate'>): Partial<Settings> {
  const { prompt, negative_prompt, num_inference_steps, guidance_scale, seed, scheduler, output_format, quality } = recipe
  const settings = { prompt, negative_prompt, size: sizeName(recipe.width, recipe.height), num_inference_steps, guidance_scale, seed, num_images: 1, scheduler, output_format, quality }
  const known = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
  // A recipe leaves these out where they were off: what is in the form must not stay.
  return { ...known, guidance_start: recipe.guidance_start, guidance_end: recipe.guidance_end, cache_interval: recipe.cache_interval, truncate: recipe.truncate ?? false }
}

/** The request that makes the picture of this recipe again, byte for byte. */
export function requestOf({ model: _model, model_digest: _digest, version: _version, ...request }: Known): GenerateRequest {
  return request
}

/** What the page knows by itself of a picture that it asked for. */
export function knownOf(request: GenerateRequest, { seed, width, height }: Pick<Known, 'seed' | 'width' | 'height'>): Known {
  const { num_images: _count, preview_interval: _interval, truncate, timeout: _timeout, ...rest } = request
  return { ...rest, ...(truncate === true ? { truncate } : {}), seed, width, height }
}
