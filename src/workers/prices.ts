import type { Job } from './job.js'

/** Chip-seconds of a step for one row of a million pixels, before any was measured: a v5e's, computed. */
const NOMINAL_ROW_SECONDS = 0.055

/**
 * Chip-seconds of a job by its rows, steps and pixels alone: what jobs weigh against each other where none has been
 * measured.
 *
 * @param steps of the worker
 * @param rows of all its images together
 */
export function nominalChipSeconds(
  { width, height }: Pick<Job, 'width' | 'height'>,
  steps: number,
  rows: number
): number {
  return (steps * rows * width * height * NOMINAL_ROW_SECONDS) / 1e6
}
