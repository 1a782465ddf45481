/** AUTOMATIC1111's names for our samplers, without the noise schedule. */
const SAMPLERS: Readonly<Record<string, string>> = {
  euler: 'Euler',
  euler_ancestral: 'Euler a',
  ddim: 'DDIM',
  dpmpp_2m: 'DPM++ 2M',
  dpmpp_2m_sde: 'DPM++ 2M SDE',
  dpmpp_3m_sde: 'DPM++ 3M SDE',
  heun: 'Heun',
  dpm2: 'DPM2',
  dpm2_ancestral: 'DPM2 a',
  lcm: 'LCM',
  unipc: 'UniPC'
}

/** AUTOMATIC1111's names for our noise schedules, by the suffix of a scheduler's name. It writes them separately. */
const SCHEDULES: Readonly<Record<string, string>> = { _karras: 'Karras', _exponential: 'Exponential', _beta: 'Beta' }

/** AUTOMATIC1111's name for a scheduler; ours if it has none. */
export function samplerOf(scheduler: string): { sampler: string; schedule?: string } {
  const suffix = Object.keys(SCHEDULES).find((end) => scheduler.endsWith(end))
  const sampler = SAMPLERS[suffix === undefined ? scheduler : scheduler.slice(0, -suffix.length)]
  if (sampler === undefined) return { sampler: scheduler }
  return suffix === undefined ? { sampler } : { sampler, schedule: SCHEDULES[suffix]! }
}

/** Older versions of AUTOMATIC1111 append the schedule to the sampler's name. */
export function schedulerOf(sampler: string, schedule: string): string {
  const [suffix = '', name = ''] =
    Object.entries(SCHEDULES).find(([, known]) => schedule === known || sampler.endsWith(` ${known}`)) ?? []
  const plain = sampler.endsWith(` ${name}`) ? sampler.slice(0, -name.length - 1) : sampler
  const found = Object.entries(SAMPLERS).find(([, known]) => known === plain)?.[0]
  return found === undefined ? sampler : `${found}${suffix}`
}
