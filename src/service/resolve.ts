import { EaselError } from '../errors.js'
import type { Hello } from '../engine/protocol.js'
import { includesSize } from '../engine/sizes.js'
import type { GenerateRequest } from '../schemas/generate.js'
import { NOT_READY_RETRY_SECONDS } from './failures.js'
import { resolveSavings, type SavingsDefaults } from './savings.js'

/** The operator's defaults, which go before the model's. */
export interface Defaults extends SavingsDefaults {
  readonly defaultNegativePrompt: string | undefined
  readonly defaultSteps: number | undefined
  readonly defaultGuidanceScale: number | undefined
  readonly defaultWidth: number | undefined
  readonly defaultHeight: number | undefined
  readonly defaultScheduler: string | undefined
}

/** A request with everything decided that decides its images. */
export type ResolvedRequest = Required<Omit<GenerateRequest, 'truncate' | 'timeout' | 'preview_interval'>>

/** diffusers and Pillow have no common default; this one is safe for pictures with hard edges. */
const DEFAULT_QUALITY = 90

/**
 * Fills in what the request leaves open (request, then operator, then model) and checks it against what the workers can do.
 *
 * @param randomSeed called when the request has no seed; gives a uint32
 * @throws EaselError 400 with the field at fault; 503 for a size that is still being compiled
 */
export function resolveRequest(request: GenerateRequest, model: Hello, defaults: Defaults, randomSeed: () => number): ResolvedRequest {
  const otherwise = defaultsOf(model, defaults)
  const resolved: ResolvedRequest = {
    prompt: request.prompt,
    negative_prompt: request.negative_prompt ?? otherwise.negative_prompt,
    seed: request.seed ?? randomSeed(),
    num_inference_steps: request.num_inference_steps ?? otherwise.num_inference_steps,
    guidance_scale: request.guidance_scale ?? otherwise.guidance_scale,
    width: request.width ?? otherwise.width,
    height: request.height ?? otherwise.height,
    scheduler: request.scheduler ?? otherwise.scheduler,
    num_images: request.num_images ?? 1,
    output_format: request.output_format ?? 'png',
    quality: request.quality ?? DEFAULT_QUALITY,
    ...resolveSavings(request, model, defaults)
  }
  checkLimit('num_inference_steps', resolved.num_inference_steps, model.limits.max_steps)
  checkLimit('guidance_scale', resolved.guidance_scale, model.limits.max_guidance_scale)
  checkLimit('num_images', resolved.num_images, model.limits.max_images)
  checkSize(resolved, model)
  if (!model.schedulers.includes(resolved.scheduler)) {
    throw new EaselError('UNSUPPORTED_SCHEDULER', `scheduler must be one of ${model.schedulers.join(', ')}`, { field: 'scheduler' })
  }
  return resolved
}

/** What a request gets for the fields that it leaves out: the operator's word, else the model's. */
export function defaultsOf(model: Hello, defaults: Defaults): Hello['defaults'] {
  return {
    negative_prompt: defaults.defaultNegativePrompt ?? model.defaults.negative_prompt,
    num_inference_steps: defaults.defaultSteps ?? model.defaults.num_inference_steps,
    guidance_scale: defaults.defaultGuidanceScale ?? model.defaults.guidance_scale,
    width: defaults.defaultWidth ?? model.defaults.width,
    height: defaults.defaultHeight ?? model.defaults.height,
    scheduler: defaults.defaultScheduler ?? model.defaults.scheduler
  }
}

/** Image i has the seed + i, as a uint32. */
export function seedsOf({ seed, num_images }: Pick<ResolvedRequest, 'seed' | 'num_images'>): number[] {
  return Array.from({ length: num_images }, (_, index) => (seed + index) % 2 ** 32)
}

function checkLimit(field: 'num_inference_steps' | 'guidance_scale' | 'num_images', value: number, most: number): void {
  if (value > most) throw new EaselError('LIMIT_EXCEEDED', `${field} must be at most ${most}`, { field })
}

function checkSize({ width, height }: ResolvedRequest, { sizes, coming = [] }: Hello): void {
  if (includesSize(sizes, { width, height })) return
  const offered = sizes.map(([w, h]) => `${w}x${h}`).join(', ')
  const field = sizes.some(([w]) => w === width) ? 'height' : 'width'
  if (includesSize(coming, { width, height })) {
    throw new EaselError('NOT_READY', `${width}x${height} is still being compiled; ready are ${offered}`, { field, retryAfter: NOT_READY_RETRY_SECONDS })
  }
  throw new EaselError('UNSUPPORTED_SIZE', `${width}x${height} is not offered; width x height must be one of ${offered}`, { field })
}
