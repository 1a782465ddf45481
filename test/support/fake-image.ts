import type { Job } from '../../src/workers/job.js'
import { jobDigest } from './fake-text.mjs'

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
      | 'guidance_rescale'
      | 'original_size'
      | 'crops_coords_top_left'
      | 'target_size'
      | 'negative_original_size'
      | 'negative_crops_coords_top_left'
      | 'negative_target_size'
      | 'loras'
      | 'controls'
      | 'ip_adapters'
    >
  > & { seed: number; pictures?: readonly { role: string; pixels: Uint8Array }[]; schedule_steps?: number }

/**
 * Computes the fake engine's picture from the same definition with independent code.
 *
 * @param weights the worker's --fake-weights
 */
export function fakePicture(job: FakeJob, weights = ''): Buffer {
  const { width, height } = job
  const d = jobDigest(job, weights)
  const pixels = Buffer.alloc(width * height * 3)
  for (let y = 0; y < height; y++) {
    const row = (y * y * (d[2]! | 1) + 257 * d[3]! + 1) % 65536
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const i = 3 * x + c
        const column = (i * i * (d[0]! | 1) + 257 * d[1]!) % 65536
        const noise = ((column * row) % 65536) >> 13
        pixels[(y * width + x) * 3 + c] =
          (d[4 + c]! + ((x * (1 + (d[7 + c]! % 4))) >> 2) + ((y * (1 + (d[10]! % 4))) >> 2) + noise) & 255
      }
    }
  }
  d.copy(pixels, 0)
  return pixels
}
