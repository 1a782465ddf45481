import type { Files, GenerateRequest, Known } from '../api/types.js'
import type { Size } from '../lib/picture-file.js'
import { conditionsOf } from './conditions.js'
import { hiresChoices, type HiresChoices, hiresOf, hiresSteps } from './hires.js'
import { type ChosenLora, lorasOfRecipe } from './loras.js'
import { defaultStrength, stepsRun } from './start.js'

/** The numeric request parameters. Undefined means empty in the form: the server then uses its default. */
export type Numbers = {
  [N in keyof GenerateRequest as NonNullable<GenerateRequest[N]> extends number ? N : never]?: number | undefined
}

/** The values in the form. */
export interface Settings extends Omit<Numbers, 'width' | 'height' | 'timeout' | 'preview_interval'>, HiresChoices {
  prompt: string
  /** Undefined until the server has reported its default. */
  negative_prompt: string | undefined
  /** Empty for the first prompt, as are negative ones. */
  prompt_2: string
  negative_prompt_2: string
  /** Undefined if the server reads only plain prompts. */
  prompt_syntax: NonNullable<GenerateRequest['prompt_syntax']> | undefined
  /** Undefined if the server has one model. */
  model: string | undefined
  loras: readonly ChosenLora[]
  size: string
  /** The size of the second pass; empty for none. */
  hires: string
  /** Empty for none. */
  preset: string
  scheduler: string
  /** Empty for the model's. */
  timestep_spacing: NonNullable<GenerateRequest['timestep_spacing']> | ''
  /** Empty for the server's default. */
  resize_mode: NonNullable<GenerateRequest['resize_mode']> | ''
  output_format: 'png' | 'jpeg' | 'webp'
  previews: boolean
  truncate: boolean
}

/** Which files a request has. */
type Marked = { readonly [N in keyof Files]?: unknown }

/** Approximate number of previews of each picture. */
const PREVIEWS = 8

export function sizeName(width: number, height: number): string {
  return `${width}×${height}`
}

/** The size of this name; undefined for the empty one. */
export function sizeOfName(name: string): Size | undefined {
  const [width, height] = name.split('×').map(Number)
  return width === undefined || height === undefined ? undefined : { width, height }
}

/**
 * The request for these settings, without its files.
 *
 * @param files those that it has, in any form; fields that need others are left out
 */
export function toRequest(
  {
    prompt,
    negative_prompt,
    prompt_2,
    negative_prompt_2,
    prompt_syntax,
    model,
    loras,
    size,
    hires: hiresSize,
    hires_strength,
    hires_steps,
    hires_upscaler,
    preset,
    scheduler,
    timestep_spacing,
    resize_mode,
    strength,
    padding_mask_crop,
    output_format,
    previews,
    truncate,
    num_images,
    quality,
    ...numbers
  }: Settings,
  steps: number,
  files: Marked = {}
): GenerateRequest {
  const started = files.image !== undefined
  const padding = files.mask_image === undefined ? undefined : padding_mask_crop
  const second = { hires_strength, hires_steps, hires_upscaler }
  const hires = started ? undefined : hiresOf(sizeOfName(hiresSize), second)
  const first = started ? stepsRun(steps, strength ?? defaultStrength(files)) : steps
  const run = hires === undefined ? first : first + hiresSteps(steps, second).run
  return {
    prompt: prompt.trim(),
    // Send it even if empty: without it, the server would apply its own default.
    ...(negative_prompt === undefined ? {} : { negative_prompt: negative_prompt.trim() }),
    ...filled({ prompt_2, negative_prompt_2 }),
    ...(timestep_spacing === '' ? {} : { timestep_spacing }),
    ...(started ? given({ strength }) : {}),
    // What is cropped to the mask is always fitted in one way.
    ...(started && resize_mode !== '' && padding === undefined ? { resize_mode } : {}),
    ...given({ padding_mask_crop: padding }),
    ...given({ prompt_syntax, model }),
    ...(loras.length === 0 ? {} : { loras: [...loras] }),
    ...sizeOfName(size),
    ...given({ hires }),
    ...given(numbers),
    // Its fields are in the form, except timesteps.
    ...filled({ preset, scheduler }),
    num_images: num_images ?? 1,
    output_format,
    ...(output_format === 'png' ? {} : given({ quality })),
    ...(truncate ? { truncate: true } : {}),
    preview_interval: previews ? Math.max(1, Math.round(run / PREVIEWS)) : 0
  }
}

/** The texts that are not empty. */
function filled<T extends Record<string, string>>(texts: T): Partial<T> {
  const trimmed = Object.entries(texts).map(([name, text]) => [name, text.trim()])
  return Object.fromEntries(trimmed.filter(([, text]) => text !== '')) as Partial<T>
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

function given<T extends object>(values: T): Given<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Given<T>
}

/**
 * The settings that reproduce the picture of this recipe.
 *
 * @param refinements parameters that a recipe omits when neutral, so the form's values for them must be cleared
 */
export function fromRecipe(
  recipe: Omit<Known, 'truncate'> & Pick<GenerateRequest, 'truncate'>,
  refinements: readonly (keyof Numbers)[]
): Partial<Settings> {
  const {
    width,
    height,
    model_digest: _digest,
    version: _version,
    image_sha256: _image,
    mask_image_sha256: _mask,
    hires,
    controls: _controls,
    ip_adapters: _adapters,
    truncate = false,
    ...rest
  } = recipe
  const {
    timeout: _timeout,
    preview_interval: _interval,
    ...settings
  } = rest as typeof rest & Pick<GenerateRequest, 'timeout' | 'preview_interval'>
  return {
    ...Object.fromEntries(refinements.map((name) => [name, undefined])),
    prompt_2: '',
    negative_prompt_2: '',
    prompt_syntax: 'plain',
    preset: '',
    timestep_spacing: '',
    strength: undefined,
    resize_mode: '',
    padding_mask_crop: undefined,
    ...given({ ...settings, num_images: 1 }),
    loras: lorasOfRecipe(recipe),
    size: sizeName(width, height),
    hires: hires === undefined ? '' : sizeName(hires.width, hires.height),
    ...hiresChoices(hires),
    truncate
  }
}

/**
 * The request that reproduces the picture of this recipe byte for byte.
 *
 * @param models the models that requests to this server can choose
 */
export function requestOf(
  { model, model_digest: _digest, version: _version, ...request }: Known,
  models: readonly string[]
): GenerateRequest {
  return models.length > 1 && model !== undefined && models.includes(model) ? { ...request, model } : request
}

/** The parameters of a wanted request, other than its files, that another request does not have with the same value. */
export function unlike(wanted: GenerateRequest, other: GenerateRequest): string[] {
  const plain = (value: unknown) => JSON.stringify(typeof value === 'string' ? value.trim() : value)
  const loras = lorasOfRecipe(wanted)
  // The form has LoRAs in its own way: without digests and those that the prompts name.
  // The prompts name the embeddings.
  const { loras: _loras, embeddings: _embeddings, image_sha256: _image, mask_image_sha256: _mask, ...others } = wanted
  const { controls: _controls, ip_adapters: _adapters, ...rest } = others
  return Object.entries({ ...rest, ...(loras.length === 0 ? {} : { loras }), ...conditionsOf(wanted) })
    .filter(([name, value]) => plain(value) !== plain((other as Record<string, unknown>)[name]))
    .map(([name]) => name)
}

/** A picture's recipe as far as the page knows it from its own request. */
export function knownOf(
  request: GenerateRequest,
  { seed, width, height }: Pick<Known, 'seed' | 'width' | 'height'>
): Known {
  const { num_images: _count, preview_interval: _interval, truncate, timeout: _timeout, ...rest } = request
  return { ...rest, ...(truncate === true ? { truncate } : {}), seed, width, height }
}
