import type { Job } from './job.js'
import type { Hello } from './protocol.js'
import { includesSize } from './sizes.js'

/** The feature of a worker that guides only an interval of the steps. */
export const GUIDANCE_INTERVAL = 'guidance_interval'

/** What of a job not every worker can do. */
type Needs = Pick<Job, 'width' | 'height' | 'guidanceStart' | 'guidanceEnd' | 'cacheInterval'>

/** Whether the worker that said this can do it. One that does not know a field would ignore it, and make another image. */
export function canMake(hello: Hello, job: Needs): boolean {
  return includesSize(hello.sizes, job) && (guidesAllSteps(job) || guidesIntervals(hello)) && job.cacheInterval <= mostCached(hello)
}

export function guidesIntervals({ features = [] }: Pick<Hello, 'features'>): boolean {
  return features.includes(GUIDANCE_INTERVAL)
}

/** The largest cache_interval that a worker takes; 1 is none. */
export function mostCached({ limits }: Pick<Hello, 'limits'>): number {
  return limits.max_cache_interval ?? 1
}

/** What several workers can do together beyond their sizes. */
export function abilitiesOf(all: readonly [Hello, ...Hello[]]): Pick<Hello, 'features' | 'limits'> {
  const features = [...new Set(all.flatMap(({ features = [] }) => features))]
  const cached = Math.max(...all.map(mostCached))
  const { max_cache_interval: _, ...limits } = all[0].limits
  return { ...(features.length === 0 ? {} : { features }), limits: cached === 1 ? limits : { ...limits, max_cache_interval: cached } }
}

function guidesAllSteps({ guidanceStart, guidanceEnd }: Needs): boolean {
  return guidanceStart === 0 && guidanceEnd === 1
}
