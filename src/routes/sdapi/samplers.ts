import { EaselError } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import { samplerOf } from '../../image/samplers.js'
import type { GenerateRequest } from '../../schemas/generate.js'

/** A noise schedule of the web UI. */
export interface NoiseSchedule {
  readonly name: string
  readonly label: string
  readonly aliases: string[] | null
  readonly default_rho: number
  readonly need_inner_model: boolean
  /** The spacing of timesteps that it is in diffusers; undefined for one of sigmas, which has samplers of its own. */
  readonly spacing?: NonNullable<GenerateRequest['timestep_spacing']>
}

const AUTOMATIC: NoiseSchedule = {
  name: 'automatic',
  label: 'Automatic',
  aliases: null,
  default_rho: -1,
  need_inner_model: false
}

const sigmas = (name: string, label: string, more: Partial<NoiseSchedule> = {}): NoiseSchedule => ({
  ...AUTOMATIC,
  name,
  label,
  ...more
})

const spaced = (
  name: string,
  label: string,
  spacing: NonNullable<NoiseSchedule['spacing']>,
  aliases: NoiseSchedule['aliases'] = null
): NoiseSchedule => ({ ...AUTOMATIC, name, label, aliases, need_inner_model: true, spacing })

/**
 * The web UI's schedules that Easel has too. Its spaced ones are within one timestep of diffusers' spacings.
 *
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_schedulers.py
 */
const SCHEDULES: readonly NoiseSchedule[] = [
  sigmas('karras', 'Karras', { default_rho: 7 }),
  sigmas('exponential', 'Exponential'),
  sigmas('beta', 'Beta', { need_inner_model: true }),
  spaced('uniform', 'Uniform', 'linspace'),
  spaced('normal', 'Normal', 'linspace'),
  spaced('sgm_uniform', 'SGM Uniform', 'trailing', ['SGMUniform']),
  spaced('simple', 'Simple', 'trailing'),
  spaced('ddim', 'DDIM', 'leading')
]

/**
 * What Automatic is for some samplers. For the others it is the model's own spacing.
 *
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_samplers_kdiffusion.py
 */
const USUAL: Readonly<Record<string, string>> = {
  'DPM++ 2M': 'Karras',
  'DPM++ 2M SDE': 'Exponential',
  'DPM++ 3M SDE': 'Exponential',
  DPM2: 'Karras',
  'DPM2 a': 'Karras'
}

/**
 * Samplers whose timesteps the web UI chooses itself, and the schedules that ask for no others.
 *
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_samplers_timesteps.py
 */
const OWN_TIMESTEPS: ReadonlySet<string> = new Set(['DDIM', 'UniPC'])
const NO_OTHERS: ReadonlySet<string> = new Set(['Uniform', 'Normal', 'DDIM'])

/** Our samplers that take no `timestep_spacing`, as their classes in diffusers do not. */
const UNSPACED = /^(lcm|tcd|dpmpp_2s|edm_)/

/** A sampler that the model offers, in the web UI's names. `schedule` is empty for timesteps. */
interface Variant {
  readonly scheduler: string
  readonly sampler: string
  readonly schedule: string
}

/** What a request says about its sampler, in the web UI's names. */
export interface SamplerFields {
  readonly sampler: string | undefined
  readonly schedule: string | undefined
}

/** The samplers of a model. */
export interface OfferedSamplers {
  readonly schedulers: readonly string[]
  /** The one of requests that name none. */
  readonly usual: string
}

export type SamplerChoice = Pick<GenerateRequest, 'scheduler' | 'timestep_spacing'>

/**
 * Our sampler for the web UI's names. Takes also our own names, and a schedule's label after the sampler's name, as
 * versions of the web UI before 1.9 write it.
 *
 * @returns nothing if the request names neither sampler nor schedule
 * @throws EaselError UNSUPPORTED_SCHEDULER with the name of our field: `scheduler` for the sampler and
 *   `timestep_spacing` for the schedule
 */
export function choiceOf({ sampler, schedule }: SamplerFields, { schedulers, usual }: OfferedSamplers): SamplerChoice {
  const said = schedule === undefined ? AUTOMATIC : scheduleNamed(schedule)
  if (said === AUTOMATIC) {
    if (sampler === undefined) return {}
    if (schedulers.includes(sampler)) return { scheduler: sampler }
  }
  const variants = variantsOf(schedulers)
  const named = sampler === undefined ? { sampler: samplerOf(usual).sampler } : samplerNamed(sampler, variants)
  const own = variants.filter((variant) => variant.sampler === named.sampler)
  if (named.schedule === undefined) return choose(own, said)
  if (said !== AUTOMATIC && said !== named.schedule)
    throw wrongSchedule(`must be ${named.schedule.label}, which the sampler's name says, or left out`)
  return choose(own, named.schedule)
}

/** The samplers that a model offers, each with what Automatic means for it. */
export function listSamplers(
  schedulers: readonly string[]
): { name: string; aliases: string[]; options: { scheduler?: string } }[] {
  const variants = variantsOf(schedulers)
  return [...new Set(variants.map(({ sampler }) => sampler))].map((name) => {
    const own = variants.filter(({ sampler }) => sampler === name)
    const usual = own.find(({ schedule }) => schedule === USUAL[name])
    return {
      name,
      aliases: own.filter(({ schedule, scheduler }) => schedule === '' && scheduler !== name).map((it) => it.scheduler),
      options: usual === undefined ? {} : { scheduler: scheduleNamed(usual.schedule).name }
    }
  })
}

/**
 * The schedules that a model's samplers can have.
 *
 * @param spacings whether its workers take `timestep_spacing`
 */
export function listSchedules(schedulers: readonly string[], spacings: boolean): NoiseSchedule[] {
  const labels = new Set(variantsOf(schedulers).map(({ schedule }) => schedule))
  return [
    AUTOMATIC,
    ...SCHEDULES.filter(({ label, spacing }) => (spacing === undefined ? labels.has(label) : spacings))
  ]
}

function variantsOf(schedulers: readonly string[]): Variant[] {
  return schedulers.map((scheduler) => ({ scheduler, schedule: '', ...samplerOf(scheduler) }))
}

function samplerNamed(
  given: string,
  variants: readonly Variant[]
): { readonly sampler: string; readonly schedule?: NoiseSchedule } {
  const ours = variants.find(({ scheduler }) => scheduler === given)
  if (ours !== undefined)
    return { sampler: ours.sampler, ...(ours.schedule === '' ? {} : { schedule: scheduleNamed(ours.schedule) }) }
  const known = (name: string) => variants.find(({ sampler }) => same(sampler, name))?.sampler
  const whole = known(given)
  if (whole !== undefined) return { sampler: whole }
  for (const schedule of SCHEDULES) {
    const end = ` ${schedule.label}`
    if (!same(given.slice(-end.length), end)) continue
    const sampler = known(given.slice(0, -end.length))
    if (sampler !== undefined) return { sampler, schedule }
  }
  const names = [...new Set(variants.map(({ sampler }) => sampler))].join(', ')
  throw new EaselError(
    'UNSUPPORTED_SCHEDULER',
    `scheduler must be one of ${names}, not ${JSON.stringify(excerpt(given))}`,
    { field: 'scheduler' }
  )
}

function scheduleNamed(given: string): NoiseSchedule {
  const all = [AUTOMATIC, ...SCHEDULES]
  const found = all.find(({ name, label, aliases }) =>
    [name, label, ...(aliases ?? [])].some((known) => same(known, given))
  )
  if (found !== undefined) return found
  throw wrongSchedule(
    `must be one of ${all.map(({ label }) => label).join(', ')}, not ${JSON.stringify(excerpt(given))}`
  )
}

/** @param variants those of one sampler, at least one */
function choose(variants: readonly Variant[], { label, spacing }: NoiseSchedule): SamplerChoice {
  const { sampler } = variants[0]!
  const having = (schedule: string) => variants.find((variant) => variant.schedule === schedule)
  if (label === AUTOMATIC.label) {
    const usual = USUAL[sampler]
    const { scheduler } = (usual === undefined ? undefined : having(usual)) ?? having('') ?? variants[0]!
    return { scheduler }
  }
  const found = having(spacing === undefined ? label : '')
  if (found === undefined || (spacing !== undefined && UNSPACED.test(found.scheduler))) {
    const others = variants.map(({ schedule }) => schedule).filter((schedule) => schedule !== '')
    throw wrongSchedule(
      `${label} is not offered with the sampler ${sampler}; use ${[AUTOMATIC.label, ...others].join(' or ')}`
    )
  }
  const { scheduler } = found
  if (spacing === undefined || (OWN_TIMESTEPS.has(sampler) && NO_OTHERS.has(label))) return { scheduler }
  return { scheduler, timestep_spacing: spacing }
}

function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase()
}

function wrongSchedule(message: string): EaselError {
  return new EaselError('UNSUPPORTED_SCHEDULER', `timestep_spacing ${message}`, { field: 'timestep_spacing' })
}
