// @ts-check
// Computes how many chips a load needs, from the operations of SDXL base and a chip's peak.

/** TFLOP of one forward of SDXL base at batch 1, by the side of a square image. A multiply-add counts as two. */
const UNET_TFLOP = new Map([
  [1024, 6.761],
  [768, 3.64],
  [512, 1.59]
])
/** At 1024; the decoder's work is proportional to the pixels. */
const DECODER_TFLOP = 10.47
/** Both text encoders, for one prompt. */
const TEXT_TFLOP = 0.111

/** Dense bf16 TFLOP/s of one chip, as published by Google. */
export const CHIPS = { v5e: 197, v6e: 918 }

/**
 * Returns the seconds of one chip that an image takes, at a share of the chip's peak.
 *
 * @param {{ steps: number, size?: number, guided?: boolean, chip?: keyof typeof CHIPS, efficiency?: number }} load
 */
export function secondsPerImage({ steps, size = 1024, guided = true, chip = 'v5e', efficiency = 1 }) {
  const unet = UNET_TFLOP.get(size)
  if (unet === undefined) throw new RangeError(`size must be one of ${[...UNET_TFLOP.keys()].join(', ')}`)
  const forwards = guided ? 2 : 1
  const work = forwards * (steps * unet + TEXT_TFLOP) + DECODER_TFLOP * (size / 1024) ** 2
  return work / (CHIPS[chip] * efficiency)
}

/**
 * Returns the number of chips that a load needs to be busy for `utilization` of the time, plus `spare` for preempted ones.
 *
 * @param {{ imagesPerSecond: number, seconds: number, utilization?: number, spare?: number }} load
 */
export function chipsFor({ imagesPerSecond, seconds, utilization = 0.7, spare = 0 }) {
  return Math.ceil((imagesPerSecond * seconds) / utilization) + spare
}

/**
 * Returns the share of the time that `chips` with one queue are busy when images wait for `wait` of an image's time on
 * average.
 *
 * @param {number} wait
 * @param {number} chips
 */
export function utilizationAt(wait, chips) {
  let [low, high] = [0, 1]
  while (high - low > 1e-6) {
    const middle = (low + high) / 2
    if (meanWait(middle, chips) < wait) low = middle
    else high = middle
  }
  return low
}

/**
 * Returns the chip-hours that 1,000 images take, idle time included.
 *
 * @param {{ seconds: number, utilization: number }} load seconds of one chip for an image
 */
export function chipHours({ seconds, utilization }) {
  return (1000 * seconds) / utilization / 3600
}

/**
 * Returns the mean wait of an image that arrives at random, in units of an image's time, if `chips` share one queue: Allen
 * and Cunneen's approximation, with Erlang's formula for many servers, for images of equal duration.
 *
 * @param {number} utilization
 * @param {number} chips
 */
export function meanWait(utilization, chips) {
  const offered = utilization * chips
  let term = 1
  let sum = 1
  for (let busy = 1; busy < chips; busy++) sum += term *= offered / busy
  const all = (term * offered) / chips / (1 - utilization)
  return all / (sum + all) / (chips * (1 - utilization)) / 2
}
