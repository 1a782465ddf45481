import { mostOf, type Parameter, parametersWith } from '../parameters.js'
import type { Job } from './job.js'
import type { Hello } from './protocol.js'
import { includesSize } from './sizes.js'

type Abilities = Pick<Hello, 'features' | 'limits'>

/** What workers say of what they can do. */
export type Capabilities = Pick<Hello, 'model' | 'sizes' | 'coming' | 'schedulers' | 'defaults'> & Abilities

/** Parameters that not every worker knows. One that does not would ignore them, and make another image. */
const OPTIONAL = parametersWith('neutral')

/** Limits of those. The other limits all workers of a model have alike. */
const OPTIONAL_LIMITS: ReadonlySet<string | undefined> = new Set(OPTIONAL.map(({ limit }) => limit))

/** Whether the worker that said this can do it. */
export function canMake(hello: Hello, job: Pick<Job, 'width' | 'height'> & Partial<Job>): boolean {
  return (
    includesSize(hello.sizes, job) &&
    OPTIONAL.every((parameter) =>
      allows(hello, parameter, (job as Record<string, unknown>)[parameter.wire ?? ''] as number | undefined)
    )
  )
}

/** Whether workers take this value of a parameter; undefined is its neutral one. */
export function allows({ features = [], limits }: Abilities, parameter: Parameter, value: number | undefined): boolean {
  const { neutral, feature } = parameter
  if (value === neutral || value === undefined) return true
  return (feature === undefined || features.includes(feature)) && value <= mostOf(parameter, limits)
}

/** What several workers can do together beyond their sizes. */
export function abilitiesOf(all: readonly [Hello, ...Hello[]]): Abilities {
  const features = [...new Set(all.flatMap(({ features = [] }) => features))]
  const limits: Record<string, number> = {}
  for (const hello of all) {
    for (const [name, most] of Object.entries(hello.limits) as [string, number][]) {
      limits[name] = OPTIONAL_LIMITS.has(name) ? Math.max(most, limits[name] ?? 0) : (limits[name] ?? most)
    }
  }
  return { ...(features.length === 0 ? {} : { features }), limits: limits as unknown as Hello['limits'] }
}
