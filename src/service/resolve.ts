import { EaselError } from '../errors.js'
import type { Hello } from '../engine/protocol.js'
import type { GenerateRequest } from '../schemas/generate.js'

/** The operator's defaults, which go before the model's. */
export interface Defaults {
  readonly defaultNegativePrompt: string | undefined
  readonly defaultSteps: number | undefined
  readonly defaultGuidanceScale: number | undefined
  readonly defaultWidth: number | undefined
  readonly defaultHeight: number | undefined
  readonly defaultScheduler: string | undefined
}

/** A request with every field decided. */
export type ResolvedRequest = Required<Omit<GenerateRequest, 'truncate'>>

/**
 * Fills in what the request leaves open (request, then operator, then model) and checks it against what the workers can do.
 *
 * @param randomSeed called when the request has no seed; gives a uint32
 * @throws EaselError 400 with the field at fault
 */
export function resolveRequest(request: GenerateRequest, model: Hello, defaults: Defaults, randomSeed: () => number): ResolvedRequest {
  const resolved: ResolvedRequest = {
    prompt: request.prompt,
    negative_prompt: request.negative_prompt ?? defaults.defaultNegativePrompt ?? model.defaults.negative_prompt,
    seed: request.seed ?? randomSeed(),
    num_inference_steps: request.num_inference_steps ?? defaults.defaultSteps ?? model.defaults.num_inference_steps,
    guidance_scale: request.guidance_scale ?? defaults.defaultGuidanceScale ?? model.defaults.guidance_scale,
    width: request.width ?? defaults.defaultWidth ?? model.defaults.width,
    height: request.height ?? defaults.defaultHeight ?? model.defaults.height,
    scheduler: request.scheduler ?? defaults.defaultScheduler ?? model.defaults.scheduler
  }
  checkLimit('num_inference_steps', resolved.num_inference_steps, model.limits.max_steps)
  checkLimit('guidance_scale', resolved.guidance_scale, model.limits.max_guidance_scale)
  checkSize(resolved, model)
  if (!model.schedulers.includes(resolved.scheduler)) {
    throw new EaselError('UNSUPPORTED_SCHEDULER', `scheduler must be one of ${model.schedulers.join(', ')}`, { field: 'scheduler' })
  }
  return resolved
}

function checkLimit(field: 'num_inference_steps' | 'guidance_scale', value: number, most: number): void {
  if (value > most) throw new EaselError('LIMIT_EXCEEDED', `${field} must be at most ${most}`, { field })
}

function checkSize({ width, height }: ResolvedRequest, { sizes }: Hello): void {
  if (sizes.some(([w, h]) => w === width && h === height)) return
  const offered = sizes.map(([w, h]) => `${w}x${h}`).join(', ')
  const field = sizes.some(([w]) => w === width) ? 'height' : 'width'
  throw new EaselError('UNSUPPORTED_SIZE', `${width}x${height} is not offered; width x height must be one of ${offered}`, { field })
}
