import type { ServedModel } from '../workers/served-model.js'
import {
  type Defaults,
  mostOf,
  NEUTRAL,
  type NamesWith,
  parametersWith,
  type Preset,
  type ValueOf
} from '../parameters.js'
import { defaultsOf, statedOf } from './decisions.js'

/** What clients can request of a model now: its workers' capabilities and the operator's defaults. */
export interface Offer {
  readonly model: {
    readonly id: string
    readonly digest: string
    readonly dtype: string
    readonly family?: string
    /** The second model, which does the last steps of some images. */
    readonly refiner?: string
  }
  readonly sizes: [width: number, height: number][]
  /** Sizes that are still being compiled; `coming` in GET /health. */
  readonly compiling: [width: number, height: number][]
  readonly schedulers: string[]
  /** Values that requests choose by name, for few-step models. */
  readonly presets: Preset[]
  /** Optional abilities of the workers. */
  readonly features: string[]
  /** Features that are still being compiled. */
  readonly comingFeatures: string[]
  /** Values of the parameters that a request omits. */
  readonly defaults: { readonly [N in NamesWith<'option'>]: ValueOf<N> }
  /** Largest allowed values. */
  readonly limits: { readonly [N in NamesWith<'limit'>]: number }
  /** Most chunks of 75 tokens of a prompt in a syntax that has them. */
  readonly maxChunks: number
  /** Most ControlNets and T2I-Adapters of an image. */
  readonly maxControls: number
  /** Most chunks when all is compiled. */
  readonly comingMaxChunks: number
  /** What a request must state to override operator defaults that are not neutral. */
  readonly neutral: Partial<typeof NEUTRAL>
}

/** Undefined until the first worker is ready. */
export function offerOf({ capabilities }: Pick<ServedModel, 'capabilities'>, defaults: Defaults): Offer | undefined {
  if (capabilities === undefined) return undefined
  const { model, sizes, compiling, schedulers, presets, features, limits, comingFeatures, comingMaxChunks } =
    capabilities
  const most = Object.fromEntries(
    parametersWith('limit').map((parameter) => [parameter.name, mostOf(parameter, limits)])
  ) as Offer['limits']
  return {
    model,
    sizes,
    compiling,
    schedulers,
    presets: [...presets],
    features,
    comingFeatures,
    defaults: defaultsOf(capabilities, defaults),
    limits: most,
    maxChunks: limits.max_chunks ?? 1,
    comingMaxChunks,
    maxControls: limits.max_controls ?? 0,
    neutral: statedOf(NEUTRAL, defaults)
  }
}
