import type { Caller } from '../service/caller.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { EaselError } from '../errors.js'
import type { Format } from '../image/formats.js'
import type { Recipe } from '../image/recipe.js'
import type { ChipSeconds } from '../schemas/chip-seconds.js'
import type { RunTimings } from '../service/run.js'
import type { JobFiles } from './store.js'
import type { PromptReport } from '../service/prompt-job.js'

/** The body of a job in its store: all that a gateway needs to make it. */
export interface Submission {
  readonly request: GenerateRequest
  /**
   * Names the folder of its files, if they are outside the job store. No other job ever has it: neither one of the same name
   * that is submitted when this one is forgotten, nor one whose name a disk takes for the same. Absent in jobs of older gateways.
   */
  readonly folder?: string
  /** What the caller's key said when the job was submitted. */
  readonly caller: Pick<Caller, 'weight' | 'batchOnly' | 'concurrency' | 'trace'>
}

/** What a job's clients see of its submission. */
export interface About {
  readonly seed: number
  readonly images: number
  readonly model: string | null
  readonly priority: 'interactive' | 'batch'
}

/** How far an attempt is: over all images, whose steps are counted together. */
export interface Progress {
  readonly images_done: number
  readonly images: number
  readonly step: number
  readonly of: number
}

/** How a job ended, in its store. */
export type Outcome = { readonly made: Made } | { readonly error: JobFailure }

export interface Made {
  readonly images: readonly MadeImage[]
  /** Where they are; absent if the job store has them. */
  readonly stored?: JobFiles | undefined
  readonly timings: RunTimings
  readonly prompts: PromptReport
  readonly used?: ChipSeconds | undefined
}

export interface MadeImage {
  readonly index: number
  readonly seed: number
  readonly format: Format
  readonly width: number
  readonly height: number
  readonly bytes: number
  /** In lower-case hex. */
  readonly sha256: string
  readonly recipe?: Recipe
}

export interface JobFailure {
  readonly code: EaselError['code']
  readonly message: string
  readonly field?: string
}

export function jobFailureOf({ code, message, field }: EaselError): JobFailure {
  return { code, message, ...(field === undefined ? {} : { field }) }
}

export function failureOf(error: EaselError): Outcome {
  return { error: jobFailureOf(error) }
}
