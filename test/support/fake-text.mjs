// @ts-check
import { createHash } from 'node:crypto'

/**
 * @typedef {{ readonly ids: readonly number[], readonly ids_2: readonly number[] }} Ids
 * @typedef {object} FakeJob
 * @property {Ids} prompt
 * @property {Ids | null} negative
 * @property {number} seed
 * @property {number} steps
 * @property {number} guidance
 * @property {string} scheduler
 * @property {number} width
 * @property {number} height
 * @property {number} [clip_skip]
 * @property {number} [guidance_start]
 * @property {number} [guidance_end]
 * @property {number} [cache_interval]
 */

/**
 * Returns the text that describes a job completely, as easel_worker/fake/image.py defines it.
 *
 * @param {FakeJob} job
 */
export function canonicalText({
  prompt,
  negative,
  seed,
  steps,
  guidance,
  scheduler,
  width,
  height,
  clip_skip = 0,
  guidance_start = 0,
  guidance_end = 1,
  cache_interval = 1
}) {
  const lists = negative === null ? ['-', '-'] : [negative.ids.join(','), negative.ids_2.join(',')]
  const savings = [thousandths(guidance_start), thousandths(guidance_end), cache_interval]
  const named = savings.join() === '0,1000,1' ? [] : savings
  return [
    prompt.ids.join(','),
    prompt.ids_2.join(','),
    ...lists,
    seed,
    steps,
    thousandths(guidance),
    scheduler,
    width,
    height,
    clip_skip,
    ...named
  ].join('|')
}

/** @param {number} value */
function thousandths(value) {
  return Math.floor(value * 1000 + 0.5)
}

/**
 * Returns the first 32 bytes of a fake picture, which identify its job.
 *
 * @param {FakeJob} job
 */
export function jobDigest(job) {
  return createHash('sha256').update(canonicalText(job)).digest()
}
