import type { GenerateRequest } from '../api/types.js'
import type { Size } from '../lib/picture-file.js'
import { stepsRun } from './start.js'

type Hires = NonNullable<GenerateRequest['hires']>
type Upscaler = NonNullable<Hires['upscaler']>

/** What the form says about the second pass, beside its size. Undefined means the default. */
export interface HiresChoices {
  hires_strength?: number | undefined
  hires_steps?: number | undefined
  /** Empty for the default. */
  hires_upscaler?: Upscaler | '' | undefined
}

/** The server's default. */
const STRENGTH = 0.7

/** The second pass of a request. @param size of the finished image; undefined for no second pass */
export function hiresOf(
  size: Size | undefined,
  { hires_strength, hires_steps, hires_upscaler: upscaler }: HiresChoices
): Hires | undefined {
  if (size === undefined) return undefined
  return {
    ...size,
    ...(hires_strength === undefined ? {} : { strength: hires_strength }),
    ...(hires_steps === undefined ? {} : { num_inference_steps: hires_steps }),
    ...(upscaler === undefined || upscaler === '' ? {} : { upscaler })
  }
}

/** What the form shows for a recipe's second pass. */
export function hiresChoices(hires: Hires | undefined): HiresChoices {
  const { strength, num_inference_steps: steps, upscaler = '' } = hires ?? {}
  return { hires_strength: strength, hires_steps: steps, hires_upscaler: upscaler }
}

/** The steps that the second pass runs, and of how many. @param first steps of the first pass */
export function hiresSteps(first: number, { hires_strength, hires_steps }: HiresChoices): { run: number; of: number } {
  const of = hires_steps ?? first
  return { run: stepsRun(of, hires_strength ?? STRENGTH), of }
}
