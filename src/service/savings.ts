import { guidesIntervals, mostCached } from '../engine/abilities.js'
import type { Hello } from '../engine/protocol.js'
import { EaselError } from '../errors.js'

/** The fields that leave out some of an image's operations, and change it a little. */
export interface Savings {
  readonly guidance_start: number
  readonly guidance_end: number
  readonly cache_interval: number
}

/** Every operation is done: what a request gets that says nothing, where the operator says nothing. */
export const NOTHING_SAVED: Savings = { guidance_start: 0, guidance_end: 1, cache_interval: 1 }

/** The operator's word for requests that say nothing. */
export interface SavingsDefaults {
  readonly defaultGuidanceStart: number
  readonly defaultGuidanceEnd: number
  readonly defaultCacheInterval: number
}

/** What a request gets for the fields that it leaves out. */
export function defaultSavings({ defaultGuidanceStart, defaultGuidanceEnd, defaultCacheInterval }: SavingsDefaults): Savings {
  return { guidance_start: defaultGuidanceStart, guidance_end: defaultGuidanceEnd, cache_interval: defaultCacheInterval }
}

/**
 * Fills in what the request leaves open, and checks it against what the workers can do.
 *
 * @throws EaselError 400 with the field at fault
 */
export function resolveSavings(request: Partial<Savings>, model: Hello, defaults: SavingsDefaults): Savings {
  const otherwise = defaultSavings(defaults)
  const start = request.guidance_start ?? otherwise.guidance_start
  const end = request.guidance_end ?? otherwise.guidance_end
  if (start > end) {
    if (request.guidance_end === undefined) throw new EaselError('INVALID_REQUEST', `guidance_start must be at most guidance_end, which is ${end}`, { field: 'guidance_start' })
    throw new EaselError('INVALID_REQUEST', `guidance_end must be at least guidance_start, which is ${start}`, { field: 'guidance_end' })
  }
  const field = start !== 0 ? 'guidance_start' : end !== 1 ? 'guidance_end' : undefined
  if (field !== undefined && !guidesIntervals(model)) {
    throw new EaselError('UNSUPPORTED_FEATURE', `${field} must be ${NOTHING_SAVED[field]}: the workers guide all steps`, { field })
  }
  return { guidance_start: start, guidance_end: end, cache_interval: checkCached(request.cache_interval ?? otherwise.cache_interval, model) }
}

function checkCached(interval: number, model: Hello): number {
  const most = mostCached(model)
  if (interval <= most) return interval
  if (most === 1) throw new EaselError('UNSUPPORTED_FEATURE', 'cache_interval must be 1: the workers compute all of each step', { field: 'cache_interval' })
  throw new EaselError('LIMIT_EXCEEDED', `cache_interval must be at most ${most}`, { field: 'cache_interval' })
}

/**
 * What must be said so that these savings come again: those that are any, and those that the operator's defaults would
 * decide otherwise.
 */
export function statedSavings(savings: Savings, defaults: SavingsDefaults): Partial<Savings> {
  const otherwise = defaultSavings(defaults)
  const names = Object.keys(NOTHING_SAVED) as (keyof Savings)[]
  const stated = names.filter((name) => savings[name] !== NOTHING_SAVED[name] || otherwise[name] !== NOTHING_SAVED[name])
  return Object.fromEntries(stated.map((name) => [name, savings[name]]))
}
