import type { Job } from '../../src/workers/job.js'
import { fakePixels } from './fake-text.mjs'

type FakeJob = Pick<
  Job,
  'prompt' | 'negative' | 'steps' | 'guidance' | 'scheduler' | 'width' | 'height' | 'clip_skip'
> &
  Partial<
    Pick<
      Job,
      | 'guidance_start'
      | 'guidance_end'
      | 'cache_interval'
      | 'cache_order'
      | 'guidance_rescale'
      | 'aesthetic_score'
      | 'negative_aesthetic_score'
      | 'denoising_end'
      | 'original_size'
      | 'crops_coords_top_left'
      | 'target_size'
      | 'negative_original_size'
      | 'negative_crops_coords_top_left'
      | 'negative_target_size'
      | 'loras'
      | 'controls'
      | 'ip_adapters'
      | 'output_type'
      | 'latents_upscaler'
    >
  > & { seed: number; pictures?: readonly { role: string; pixels: Uint8Array }[]; schedule_steps?: number }

/**
 * Computes the fake engine's picture from the same definition with independent code.
 *
 * @param weights the worker's --fake-weights
 */
export function fakePicture(job: FakeJob, weights = ''): Buffer {
  return fakePixels(job, weights)
}
