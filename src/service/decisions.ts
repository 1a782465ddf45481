import type { Capabilities } from '../workers/capabilities.js'
import type { Job } from '../workers/job.js'
import type { Recipe } from '../image/recipe.js'
import { EaselError } from '../errors.js'
import {
  type Defaults,
  type NamesWith,
  type NEUTRAL,
  parametersWith,
  type Preset,
  type ValueOf
} from '../parameters.js'
import type { GenerateRequest } from '../schemas/generate.js'
import { hiresOf } from './second-pass.js'
import { startOf } from './starts.js'

type Neutral = typeof NEUTRAL

const FALLBACKS = Object.fromEntries(parametersWith('fallback').map(({ name, fallback }) => [name, fallback])) as {
  [N in NamesWith<'fallback'>]: ValueOf<N>
}

const HANDLING: ReadonlySet<string> = new Set(parametersWith('handling').map(({ name }) => name))

type Omittable = NamesWith<'omittable'>

/** A request with a value for every parameter that affects its images and has a default. */
export type Decided = Required<Omit<GenerateRequest, NamesWith<'handling'> | Omittable>> &
  Pick<GenerateRequest, Omittable>

/** The values of parameters that a request omits: the operator's default, else the model's, else the neutral value. */
export function defaultsOf(model: Capabilities, defaults: Defaults): { [N in NamesWith<'option'>]: ValueOf<N> } {
  const own = model.defaults as Partial<Record<string, unknown>>
  return Object.fromEntries(
    parametersWith('option').map(({ name, neutral }) => [name, defaults[name] ?? own[name] ?? neutral])
  ) as ReturnType<typeof defaultsOf>
}

/**
 * Fills in the parameters that a request omits: from its preset, else the defaults.
 *
 * @param randomSeed returns a uint32
 * @throws EaselError UNSUPPORTED_PRESET
 */
export function decide(
  request: GenerateRequest,
  model: Capabilities,
  defaults: Defaults,
  randomSeed: () => number
): Decided {
  const entries = Object.entries(request).filter(([name, value]) => value !== undefined && !HANDLING.has(name))
  const said = Object.fromEntries(entries) as Pick<Decided, 'prompt'> & Partial<Decided>
  const preset = presetOf(request, model.presets)
  const own = preset === undefined ? {} : besides(preset, said, model.unspaced)
  const seed = said.seed ?? randomSeed()
  return {
    ...FALLBACKS,
    ...defaultsOf(model, defaults),
    ...own,
    ...stepsOf(said),
    seed,
    ...said,
    ...startOf(request),
    ...hiresOf(request)
  }
}

/** The values of the preset that a request names. @throws EaselError UNSUPPORTED_PRESET with the names that fit */
function presetOf(
  { preset: name }: Pick<GenerateRequest, 'preset'>,
  presets: readonly Preset[]
): Omit<Preset, 'name'> | undefined {
  if (name === undefined) return undefined
  const found = presets.find((preset) => preset.name === name)
  if (found === undefined) {
    const names = presets.map((preset) => preset.name).join(', ')
    const advice = names === '' ? 'must be left out: this model has no presets' : `must be one of ${names}`
    throw new EaselError('UNSUPPORTED_PRESET', `preset ${advice}`, { field: 'preset' })
  }
  const { name: _, ...values } = found
  return values
}

/**
 * What a preset sets beside the request's own values. Its timesteps or sigmas are for its sampler and its steps, its eta
 * is for its sampler, and its spacing is for every sampler that takes one.
 *
 * @param unspaced samplers that take no spacing
 */
function besides(
  preset: Omit<Preset, 'name'>,
  said: Partial<Decided>,
  unspaced: readonly string[]
): Omit<Preset, 'name'> {
  const { timesteps, sigmas, eta, timestep_spacing: spacing, ...rest } = preset
  const { scheduler = rest.scheduler, num_inference_steps: steps = rest.num_inference_steps } = said
  const ownList = said.timestep_spacing ?? said.timesteps ?? said.sigmas
  const sampler = scheduler === rest.scheduler
  const list = sampler && steps === rest.num_inference_steps && ownList === undefined
  return {
    ...rest,
    ...(spacing === undefined || unspaced.includes(scheduler) ? {} : { timestep_spacing: spacing }),
    ...(list && timesteps !== undefined ? { timesteps } : {}),
    ...(list && sigmas !== undefined ? { sigmas } : {}),
    ...(sampler && eta !== undefined ? { eta } : {})
  }
}

/** The steps of a request that gives its own schedule and does not state them. */
function stepsOf({ timesteps, sigmas }: Partial<Decided>): { num_inference_steps?: number } {
  if (timesteps !== undefined) return { num_inference_steps: timesteps.length }
  return sigmas === undefined ? {} : { num_inference_steps: sigmas.length - 1 }
}

/**
 * The parameters with a neutral value that a request must state explicitly to reproduce `values`: those that are not
 * neutral, and those whose default by the operator is not neutral.
 */
export function statedOf(values: Neutral, defaults: Defaults): Partial<Neutral> {
  const stated = parametersWith('neutral').filter(
    ({ name, neutral }) => values[name] !== neutral || (defaults[name] ?? neutral) !== neutral
  )
  return Object.fromEntries(stated.map(({ name }) => [name, values[name]]))
}

/** The part of a recipe that comes from the request. @param cut whether a prompt was truncated */
export function recipeOf(
  decided: Decided,
  defaults: Defaults,
  cut: boolean
): Omit<Recipe, 'model' | 'model_digest' | 'version'> {
  const stated = statedOf(decided, defaults)
  const { output_format: format, quality } = decided
  const values: Record<string, unknown> = {
    ...decided,
    quality: format === 'png' ? undefined : quality,
    truncate: cut ? true : undefined
  }
  const entries = parametersWith('recipe').map(
    ({ name, neutral }) => [name, neutral === undefined ? values[name] : stated[name as keyof Neutral]] as const
  )
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as ReturnType<typeof recipeOf>
}

/** The parameters of a GENERATE message. Omits neutral values, which older workers do not know. */
export function wireOf(decided: Decided): Pick<Job, 'steps' | 'guidance' | 'scheduler' | 'width' | 'height'> {
  const sent = parametersWith('wire').filter(({ name, neutral }) => decided[name] !== neutral)
  return Object.fromEntries(sent.map(({ name, wire }) => [wire, decided[name]])) as ReturnType<typeof wireOf>
}
