// @ts-check
// How many chips a load takes, computed from the arithmetic that SDXL base needs and what a chip can do at most.

/** TFLOP of one forward of SDXL base, batch 1, by the side of a square image. A multiply-add counts as two. */
const UNET_TFLOP = new Map([
  [1024, 6.761],
  [768, 3.64],
  [512, 1.59]
])
/** At 1024; the decoder's work goes with the pixels. */
const DECODER_TFLOP = 10.47
/** Both text encoders, of one prompt. */
const TEXT_TFLOP = 0.111

/** Dense bf16 TFLOP/s of one chip, as Google publishes them. */
export const CHIPS = { v5e: 197, v6e: 918 }

/**
 * Seconds of one chip that an image takes at least, at a share of the chip's peak.
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
 * Chips for a load, so that they are busy for `utilization` of the time, and `spare` more for those that are away.
 *
 * @param {{ imagesPerSecond: number, seconds: number, utilization?: number, spare?: number }} load
 */
export function chipsFor({ imagesPerSecond, seconds, utilization = 0.7, spare = 0 }) {
  return Math.ceil((imagesPerSecond * seconds) / utilization) + spare
}

/**
 * Mean wait of an image that arrives at random, in units of the time one takes, where `chips` share one queue: Allen and
 * Cunneen's approximation, with Erlang's formula for many servers, for images that take equally long.
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
