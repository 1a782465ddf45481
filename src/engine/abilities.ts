import { mostOf, type Parameter, parametersWith } from '../parameters.js'
import type { Job } from './job.js'
import type { Hello } from './protocol.js'
import { includesSize } from './sizes.js'

type Abilities = Pick<Hello, 'features' | 'limits'>

/** What workers report that they can do. */
export type Capabilities = Pick<Hello, 'model' | 'sizes' | 'coming' | 'schedulers' | 'defaults'> & Abilities

/** Parameters that older workers ignore. Such a worker would silently make a different image. */
const OPTIONAL = parametersWith('neutral')

/** The limits of the optional parameters. All other limits are the same for every worker of a model. */
const OPTIONAL_LIMITS: ReadonlySet<string | undefined> = new Set(OPTIONAL.map(({ limit }) => limit))

/** Whether the worker that sent this HELLO can run the job. */
export function canMake(hello: Hello, job: Pick<Job, 'width' | 'height'> & Partial<Job>): boolean {
  return (
    includesSize(hello.sizes, job) &&
    OPTIONAL.every((parameter) =>
      allows(hello, parameter, (job as Record<string, unknown>)[parameter.wire ?? ''] as number | undefined)
    )
  )
}

/** Whether workers accept any value of a parameter other than its neutral one. */
export function knows({ features = [], limits }: Abilities, parameter: Parameter): boolean {
  const { neutral = -Infinity, feature } = parameter
  return (feature === undefined || features.includes(feature)) && mostOf(parameter, limits) > neutral
}

/** Whether workers accept this value of a parameter. Undefined counts as the neutral value. */
function allows(abilities: Abilities, parameter: Parameter, value: number | undefined): boolean {
  if (value === parameter.neutral || value === undefined) return true
  return knows(abilities, parameter) && value <= mostOf(parameter, abilities.limits)
}

/** The union of several workers' features and limits. For their sizes see `together`. */
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
