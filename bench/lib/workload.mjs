// @ts-check
import { randomNumbers } from '../../tools/random.mjs'

/**
 * The device: one TPU v5e chip with SDXL base, computed and not measured. A row of the UNet takes 6.76, 3.64 or 1.59
 * TFLOP at 1024², 768² or 512², at 62.6 % of the chip's 197 TFLOP/s (the best published utilization of a v5e with SDXL,
 * MLPerf Inference 4.1). The fixed part is one read of the 5.1 GB of weights at 819 GB/s. So at 1024² a single guided
 * image keeps the chip busy, and batching gains little: the benchmark compares waiting times.
 *
 * The fake engine draws small pictures instead of large ones, so that PNG files do not use the machine's time.
 */
export const DEVICE = [
  { stands: '1024²', width: 128, height: 128, fixedMs: 6.2, rowMs: 54.8, share: 0.5 },
  { stands: '768²', width: 96, height: 96, fixedMs: 6.2, rowMs: 29.5, share: 0.25 },
  { stands: '512²', width: 64, height: 64, fixedMs: 6.2, rowMs: 12.9, share: 0.25 }
]
const ENCODE_MS = 2
const DECODE_MS = 60
const STEPS = { least: 4, most: 40 }
/** The share of guided requests; the others take one row. */
const GUIDED = 0.8

/** @typedef {{ at: number, body: Record<string, string | number> }} Arrival at: in ms from the start */

/**
 * Generates Poisson arrivals with mixed sizes and step counts. The same seed gives the same requests at any rate.
 *
 * @param {{ seed: number, count: number, perSecond: number }} options Infinity for all at once
 * @returns {Arrival[]}
 */
export function arrivals({ seed, count, perSecond }) {
  const random = randomNumbers(seed)
  let at = 0
  return Array.from({ length: count }, (_, index) => {
    at += (-Math.log(1 - random()) / perSecond) * 1000
    const { width, height } = pickSize(random())
    const num_inference_steps = STEPS.least + Math.floor(random() * (STEPS.most - STEPS.least + 1))
    const guidance_scale = random() < GUIDED ? 5 : 0
    return {
      at,
      body: {
        prompt: 'a lighthouse on a cliff at dusk',
        seed: index,
        num_inference_steps,
        guidance_scale,
        width,
        height
      }
    }
  })
}

/** @param {number} number from 0 to 1 */
function pickSize(number) {
  let left = number
  for (const size of DEVICE) {
    left -= size.share
    if (left < 0) return size
  }
  return /** @type {typeof DEVICE[number]} */ (DEVICE.at(-1))
}

/**
 * Returns the fake engine's options for the device.
 *
 * @param {number} speed how many times faster than the real device, so that a run takes minutes
 */
export function deviceOptions(speed) {
  const ms = (/** @type {number} */ real) => (real / speed).toFixed(3)
  const times = DEVICE.map(({ width, height, fixedMs, rowMs }) => `${width}x${height}=${ms(fixedMs)}+${ms(rowMs)}`)
  return [
    '--sizes',
    DEVICE.map(({ width, height }) => `${width}x${height}`).join(','),
    '--fake-step-times',
    times.join(','),
    '--fake-encode-ms',
    ms(ENCODE_MS),
    '--fake-decode-ms',
    ms(DECODE_MS)
  ]
}
