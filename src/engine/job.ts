import type { Generate, Hello, Progress, Timings } from './protocol.js'

/** A request as the engine sees it: token ids and numbers, no text. What a GENERATE message says, but for one try's own. */
export type Job = Omit<Generate, 'id' | 'timeout_ms'>

/** An image as the worker made it. */
export interface RawImage {
  readonly seed: number
  readonly width: number
  readonly height: number
  /** RGB, width · height · 3 bytes. */
  readonly pixels: Uint8Array
  readonly timings: Timings
  /** That of the worker that made it. */
  readonly model: Hello['model']
}

/** News of a running job. */
export interface JobProgress {
  readonly image: number
  readonly stage: Progress['stage']
  readonly step: number
  readonly of: number
  readonly preview?: { readonly width: number; readonly height: number; readonly pixels: Uint8Array }
}

/** What happens to a job on its way, for whoever wants to know. */
export interface JobListener {
  /**
   * Takes memory for the images before a worker begins with them; false where there is none now. `Engine.resume` says
   * that there may be.
   */
  reserve?: () => boolean
  /** Its place has changed: so many jobs are ahead of it, and it will be done in so many seconds, if that is known. */
  waiting?: (ahead: number, seconds: number | undefined) => void
  /** A worker has begun with it. A job that is done again after a worker's death does not begin again. */
  started?: () => void
  progress?: (progress: JobProgress) => void
  /** One of its images is there. */
  image?: (index: number, image: RawImage) => void
}

/** Why a job ended without images. The service gives each its error code. */
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
 * Rows of a denoising step that a job's images take at most: guidance needs two. Guided are the steps of the interval, when
 * the scale is above 1, as in diffusers.
 *
 * @see https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/guiders/classifier_free_guidance.py#L140
 */
export function rowsOf({
  guidance,
  guidance_start = 0,
  guidance_end = 1,
  steps,
  seeds
}: Pick<Job, 'guidance' | 'guidance_start' | 'guidance_end' | 'steps' | 'seeds'>): number {
  const guided = guidance > 1 && Math.trunc(guidance_start * steps) < Math.trunc(guidance_end * steps)
  return (guided ? 2 : 1) * seeds.length
}
