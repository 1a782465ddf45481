import type { Engine } from '../engine/engine.js'
import { type Defaults, mostOf, NEUTRAL, type NamesWith, parametersWith, type ValueOf } from '../parameters.js'
import { defaultsOf, statedOf } from './decisions.js'

/** What clients may ask for now: what the workers can do, and the operator's defaults. */
export interface Offer {
  readonly model: { readonly id: string; readonly digest: string; readonly dtype: string }
  readonly sizes: [width: number, height: number][]
  /** Sizes that are still being compiled. */
  readonly coming: [width: number, height: number][]
  readonly schedulers: string[]
  /** What not every worker can do. */
  readonly features: string[]
  /** What a request gets for the parameters that it leaves out. */
  readonly defaults: { readonly [N in NamesWith<'setting'>]: ValueOf<N> }
  /** The most that a request may ask for. */
  readonly limits: { readonly [N in NamesWith<'limit'>]: number }
  /** What a request must state to have neutral values where the operator's defaults are not. */
  readonly neutral: Partial<typeof NEUTRAL>
}

/** What is offered; undefined before the first worker was ready. */
export function offerOf({ capabilities }: Pick<Engine, 'capabilities'>, defaults: Defaults): Offer | undefined {
  if (capabilities === undefined) return undefined
  const { model, sizes, coming = [], schedulers, features = [], limits } = capabilities
  const most = Object.fromEntries(
    parametersWith('limit').map(({ name, ...parameter }) => [name, mostOf(parameter, limits)])
  ) as Offer['limits']
  return {
    model,
    sizes,
    coming,
    schedulers,
    features,
    defaults: defaultsOf(capabilities, defaults),
    limits: most,
    neutral: statedOf(NEUTRAL, defaults)
  }
}
