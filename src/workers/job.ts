import type { ChipSeconds } from './chip-ledger.js'
import type { Weights } from './models.js'
import type { Generate, Progress, Result, Timings } from './protocol.js'
import type { LeftImage } from './saved-states.js'

/** A request as the pool sees it: token ids, numbers and pixels, no text. GENERATE without the fields of one attempt. */
export type Job = Omit<Generate, 'id' | 'timeout_ms' | 'tenant'> & {
  /** The pixels of `pictures`, in their order. A retry on another worker sends the same ones. */
  readonly frames?: readonly Uint8Array[]
}

/** An image from a worker, not yet encoded. */
export interface RawImage {
  readonly seed: number
  readonly width: number
  readonly height: number
  /** RGB, width · height · 3 bytes; or latents. */
  readonly pixels: Uint8Array
  /** The form of `pixels` if they are latents, which the job's `output_type` asked for. */
  readonly latents: Result['latents']
  readonly timings: Timings
  /** The weights of the worker that made it. */
  readonly model: Weights
  /** What it has used; undefined if its worker does not say. */
  readonly used: ChipSeconds | undefined
}

export interface JobProgress {
  readonly image: number
  readonly stage: Progress['stage']
  readonly step: number
  readonly of: number
  readonly preview?: { readonly width: number; readonly height: number; readonly pixels: Uint8Array }
}

/** Hooks into a job's life cycle; all optional. */
export interface JobListener {
  /**
   * Reserves memory for the images before the job goes to a worker. Returns false when there is none; the job then
   * waits until `ServedModel.resume`.
   */
  reserve?: () => boolean
  /** Its queue position changed: `ahead` jobs are before it. `seconds` is when it will be done, if known. */
  waiting?: (ahead: number, seconds: number | undefined) => void
  /** A worker has started it. Called once, even if the job is retried after a worker's death. */
  started?: () => void
  progress?: (progress: JobProgress) => void
  /** One of its images has arrived. */
  image?: (index: number, image: RawImage) => void
  /** It is about to fail as draining with these images half done. */
  unfinished?: (images: readonly LeftImage[]) => void
}

/** Why a job ended without images. The service maps each to an error code. */
export type JobFailure =
  'cancelled' | 'expired' | 'draining' | 'worker_crashed' | 'out_of_memory' | 'invalid' | 'internal'

export class JobError extends Error {
  readonly failure: JobFailure
  constructor(failure: JobFailure, message: string) {
    super(message)
    this.name = 'JobError'
    this.failure = failure
  }
}

/**
 * Rows that one image takes in all its steps together: two in a guided step, one in another.
 *
 * @param embedded as in `rowsOf`
 */
export function rowSteps(
  {
    guidance,
    guidance_start = 0,
    guidance_end = 1,
    steps
  }: Pick<Job, 'guidance' | 'guidance_start' | 'guidance_end' | 'steps'>,
  embedded: boolean
): number {
  const guided = embedded || guidance <= 1 ? 0 : Math.trunc(guidance_end * steps) - Math.trunc(guidance_start * steps)
  return steps + Math.max(0, guided)
}

/**
 * Most rows that a job's images take in one denoising step: two per image if any step is guided, otherwise one. Steps
 * within the guidance interval are guided when the scale is above 1, as in diffusers.
 *
 * @param embedded the model takes the guidance scale as an input, so no image has a second row
 * @see https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/guiders/classifier_free_guidance.py#L140
 */
export function rowsOf(
  {
    guidance,
    guidance_start = 0,
    guidance_end = 1,
    steps,
    seeds
  }: Pick<Job, 'guidance' | 'guidance_start' | 'guidance_end' | 'steps' | 'seeds'>,
  embedded = false
): number {
  const guided = !embedded && guidance > 1 && Math.trunc(guidance_start * steps) < Math.trunc(guidance_end * steps)
  return (guided ? 2 : 1) * seeds.length
}
