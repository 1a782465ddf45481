import { type Capabilities, supports } from '../workers/capabilities.js'
import type { LoraUse } from '../workers/protocol.js'
import { EaselError } from '../errors.js'
import { type Defaults, mostOf, parametersWith } from '../parameters.js'
import type { GenerateRequest } from '../schemas/generate.js'
import { decide, type Decided } from './decisions.js'
import { type Conditions, conditionsOf } from './controls.js'
import { lorasOf } from './loras.js'
import { unsupported } from './failures.js'
import { checkRefined } from './refined.js'
import { checkHires } from './second-pass.js'
import { checkSize } from './sizes.js'
import { checkStart } from './starts.js'

/** A request's values as its images have them. */
export interface Resolved extends Omit<Decided, 'loras' | keyof Conditions>, Conditions {
  /** Absent for none. */
  readonly loras?: LoraUse[]
}

/**
 * Fills in omitted parameters (from the operator, else the model) and checks the result against the workers' abilities.
 *
 * @param randomSeed called when the request has no seed; returns a uint32
 * @throws EaselError 400 with the wrong field; 503 for a size or a feature that is still being compiled
 */
export function resolveRequest(
  request: GenerateRequest,
  model: Capabilities,
  defaults: Defaults,
  randomSeed: () => number
): Resolved {
  const decided = decide(request, model, defaults, randomSeed)
  checkInterval(decided, request)
  checkNeutral(decided, model)
  checkOmittable(decided, model)
  checkStart(request, decided, model)
  checkSize(decided, model)
  checkHires(request, decided, model)
  checkRefined(request, decided)
  checkSchedule(decided)
  checkNegativeSizes(decided)
  checkLimits(decided, model)
  if (!model.schedulers.includes(decided.scheduler)) {
    throw new EaselError('UNSUPPORTED_SCHEDULER', `scheduler must be one of ${model.schedulers.join(', ')}`, {
      field: 'scheduler'
    })
  }
  const { loras: _, controls: _controls, ip_adapters: _adapters, ...rest } = decided
  const loras = lorasOf(decided, model)
  return { ...rest, ...(loras.length === 0 ? {} : { loras }), ...conditionsOf(decided, request, model) }
}

/** Image i has seed + i, modulo 2^32. */
export function seedsOf({ seed, num_images }: Pick<Decided, 'seed' | 'num_images'>): number[] {
  return Array.from({ length: num_images }, (_, index) => (seed + index) % 2 ** 32)
}

/** Blames guidance_end only if the request states it: a default is not the client's to fix. */
function checkInterval({ guidance_start: start, guidance_end: end }: Decided, request: GenerateRequest): void {
  if (start <= end) return
  if (request.guidance_end === undefined)
    throw new EaselError('INVALID_REQUEST', `guidance_start must be at most guidance_end, which is ${end}`, {
      field: 'guidance_start'
    })
  throw new EaselError('INVALID_REQUEST', `guidance_end must be at least guidance_start, which is ${start}`, {
    field: 'guidance_end'
  })
}

/** Parameters that the workers do not support must be neutral. */
function checkNeutral(decided: Decided, model: Capabilities): void {
  for (const parameter of parametersWith('neutral')) {
    const { name, neutral, unable } = parameter
    if (decided[name] !== neutral && !supports(model, parameter))
      throw unsupported(parameter, model, `must be ${neutral}: ${unable}`)
  }
}

/** Parameters without a default that the workers do not support must be left out. */
function checkOmittable(decided: Decided, model: Capabilities): void {
  for (const parameter of parametersWith('omittable')) {
    const { name } = parameter
    if (decided[name] !== undefined && !supports(model, parameter)) {
      const unable = (parameter as { unable?: string }).unable ?? 'the workers do not support it'
      throw unsupported(parameter, model, `must be left out: ${unable}`)
    }
  }
}

/** A schedule of the request decides how many steps there are. */
function checkSchedule({ timesteps, sigmas, num_inference_steps: steps }: Decided): void {
  if (timesteps !== undefined && sigmas !== undefined)
    throw new EaselError('INVALID_REQUEST', 'timesteps and sigmas cannot be combined; leave one of them out', {
      field: 'sigmas'
    })
  if (timesteps !== undefined && timesteps.length !== steps)
    throw new EaselError('INVALID_REQUEST', `timesteps must have ${steps} entries, one for each step`, {
      field: 'timesteps'
    })
  if (sigmas !== undefined && sigmas.length !== steps + 1)
    throw new EaselError('INVALID_REQUEST', `sigmas must have ${steps + 1} entries, one more than steps`, {
      field: 'sigmas'
    })
}

/** diffusers silently ignores one of the two sizes without the other, and their crop without them. */
function checkNegativeSizes(decided: Decided): void {
  const sizes = ['negative_original_size', 'negative_target_size'] as const
  const missing = sizes.find((name) => decided[name] === undefined)
  const given = [...sizes, 'negative_crops_coords_top_left' as const].find((name) => decided[name] !== undefined)
  if (missing === undefined || given === undefined) return
  throw new EaselError('INVALID_REQUEST', `${given} also needs ${missing}`, { field: missing })
}

function checkLimits(decided: Decided, model: Capabilities): void {
  for (const parameter of parametersWith('limit')) {
    const { name } = parameter
    const most = mostOf(parameter, model.limits)
    if (decided[name] > most) throw new EaselError('LIMIT_EXCEEDED', `${name} must be at most ${most}`, { field: name })
  }
}
