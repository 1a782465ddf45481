// @ts-check
import { createHash } from 'node:crypto'

/** Sizes that the gateway of a chaos run serves. */
export const SIZES = [
  [64, 64],
  [32, 48]
]
const WORDS = ['red', 'circle', 'lighthouse', 'dusk', 'oil', 'painting', 'cliff', 'blue', 'tiny', 'robot']

/** LoRAs that the workers of a chaos run have: the texts of their files, by name. */
export const LORAS = { ink: 'a file', oil: 'another file' }

/**
 * The digest of a LoRA's file.
 *
 * @param {keyof typeof LORAS} name
 */
export const digestOf = (name) => createHash('sha256').update(LORAS[name]).digest('hex')

/**
 * What an image is made from: words, words and a LoRA, a picture, or a picture and a mask.
 *
 * @typedef {'text' | 'lora' | 'picture' | 'mask'} Kind
 */

/** @type {readonly [Kind, number][]} shares that add up to 1 */
const KINDS = [
  ['text', 0.5],
  ['lora', 0.2],
  ['picture', 0.2],
  ['mask', 0.1]
]

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
 * @typedef {{ prompt: string, negative_prompt?: string, seed?: number, num_inference_steps: number, guidance_scale: number, width: number, height: number, scheduler: string, loras?: { name: keyof typeof LORAS, weight: number }[], strength?: number }} Body
 * @typedef {{ image?: Buffer, mask_image?: Buffer }} Pictures raw pixels of the image's size: RGB, and one channel
 * @typedef {{ index: number, manner: Manner, body: Body, pictures: Pictures, form: boolean, key: string | undefined }} Plan form: sent as a form and not as JSON
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
  const manner = pickFrom(MANNERS, random())
  const kind = manner === 'invalid' ? 'text' : pickFrom(KINDS, random())
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
    scheduler: pick(['euler', 'ddim', 'dpmpp_2m']),
    ...(kind === 'lora' ? { loras: [{ name: pick(Object.keys(LORAS)), weight: pick([0.5, 1]) }] } : {}),
    ...(kind === 'picture' || kind === 'mask' ? { strength: pick([0.5, 0.75, 1]) } : {})
  }
  const pictures = picturesOf(kind, width * height, random)
  const keyed = manner === 'retry' || manner === 'repeat' || manner === 'reuse'
  const form = pictures.image !== undefined && random() < 0.5
  return { index, manner, body, pictures, form, key: keyed ? `${run}-${index}` : undefined }
}

/**
 * @param {Kind} kind
 * @param {number} pixels
 * @param {() => number} random
 * @returns {Pictures}
 */
function picturesOf(kind, pixels, random) {
  const bytes = (/** @type {number} */ count, /** @type {() => number} */ next) =>
    Buffer.from(Uint8Array.from({ length: count }, next))
  if (kind !== 'picture' && kind !== 'mask') return {}
  const image = bytes(pixels * 3, () => Math.floor(random() * 256))
  return kind === 'mask' ? { image, mask_image: bytes(pixels, () => (random() < 0.5 ? 0 : 255)) } : { image }
}

/**
 * @template {string} T
 * @param {readonly [T, number][]} shares
 * @param {number} number from 0 to 1
 * @returns {T}
 */
function pickFrom(shares, number) {
  let left = number
  for (const [name, share] of shares) {
    left -= share
    if (left < 0) return name
  }
  return /** @type {[T, number]} */ (shares[0])[0]
}
