// @ts-check

/** Sizes that the gateway of a chaos run serves. */
export const SIZES = [
  [64, 64],
  [32, 48]
]
const WORDS = ['red', 'circle', 'lighthouse', 'dusk', 'oil', 'painting', 'cliff', 'blue', 'tiny', 'robot']

/**
 * A client's behaviour with a request.
 *
 * - `wait`: waits for the answer.
 * - `leave`: disconnects for good.
 * - `retry`: has a key; disconnects up to three times and retries with the same key and body.
 * - `repeat`: has a key and no seed; repeats the request after the answer and must get the same image.
 * - `reuse`: like `repeat` but with another body, which must only give an error.
 * - `invalid`: sends an invalid request.
 *
 * @typedef {'wait' | 'leave' | 'retry' | 'repeat' | 'reuse' | 'invalid'} Manner
 * @typedef {{ prompt: string, negative_prompt?: string, seed?: number, num_inference_steps: number, guidance_scale: number, width: number, height: number, scheduler: string }} Body
 * @typedef {{ index: number, manner: Manner, body: Body, key: string | undefined }} Plan
 */

/** @type {readonly [Manner, number][]} shares that add up to 1 */
const MANNERS = [
  ['wait', 0.4],
  ['leave', 0.15],
  ['retry', 0.25],
  ['repeat', 0.1],
  ['reuse', 0.05],
  ['invalid', 0.05]
]

/**
 * @param {number} index
 * @param {string} run a prefix that makes keys of different runs differ
 * @param {() => number} random
 * @returns {Plan}
 */
export function planRequest(index, run, random) {
  const manner = pickManner(random())
  const pick = (/** @type {readonly any[]} */ list) => list[Math.floor(random() * list.length)]
  const words = (/** @type {number} */ count) => Array.from({ length: count }, () => pick(WORDS)).join(' ')
  const [width, height] = manner === 'invalid' ? [8192, 8192] : pick(SIZES)
  const body = {
    prompt: `${words(3)} ${index}`,
    ...(random() < 0.5 ? { negative_prompt: words(2) } : {}),
    ...(manner === 'repeat' || manner === 'reuse' ? {} : { seed: Math.floor(random() * 2 ** 32) }),
    num_inference_steps: 2 + Math.floor(random() * 11),
    guidance_scale: pick([0, 1.5, 7]),
    width,
    height,
    scheduler: pick(['euler', 'ddim', 'dpmpp_2m'])
  }
  const keyed = manner === 'retry' || manner === 'repeat' || manner === 'reuse'
  return { index, manner, body, key: keyed ? `${run}-${index}` : undefined }
}

/** @param {number} number from 0 to 1 */
function pickManner(number) {
  let left = number
  for (const [manner, share] of MANNERS) {
    left -= share
    if (left < 0) return manner
  }
  return 'wait'
}
