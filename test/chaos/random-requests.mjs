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

/** Their embeddings: the text of a file is its number of vectors. None is part of `WORDS`. */
export const EMBEDDINGS = { charm: '2', 'many hands': '3' }

/** Their control nets and IP-Adapters. */
export const NETS = { edges: 'a net', pose: 't2i-adapter' }
export const ADAPTERS = { plus: '16' }

/**
 * The digest of a file.
 *
 * @param {string | Buffer} text of the file
 */
export const digestOf = (text) => createHash('sha256').update(text).digest('hex')

/**
 * What an image is made from: words, words and a LoRA or an embedding, words in two passes, a picture, a picture and a
 * mask, pictures that it follows, or all of these pictures.
 *
 * @typedef {'text' | 'lora' | 'embedding' | 'hires' | 'picture' | 'mask' | 'control' | 'all'} Kind
 */

/** @type {readonly [Kind, number][]} shares that add up to 1 */
const KINDS = [
  ['text', 0.25],
  ['lora', 0.15],
  ['embedding', 0.1],
  ['hires', 0.1],
  ['picture', 0.1],
  ['mask', 0.1],
  ['control', 0.15],
  ['all', 0.05]
]

/** @type {ReadonlySet<Kind>} those that start from a picture */
const STARTED = new Set(['picture', 'mask', 'all'])
/** @type {ReadonlySet<Kind>} those that follow pictures */
const FOLLOWING = new Set(['control', 'all'])

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
 * @typedef {{ prompt: string, negative_prompt?: string, seed?: number, num_inference_steps: number, guidance_scale: number, width: number, height: number, scheduler: string, loras?: { name: keyof typeof LORAS, weight: number }[], hires?: { width: number, height: number, strength: number, upscaler?: string }, strength?: number, controls?: Control[], ip_adapters?: { name: keyof typeof ADAPTERS, scale: number }[] }} Body
 * @typedef {{ name: keyof typeof NETS, preprocessor?: 'canny' | 'lineart', controlnet_conditioning_scale: number }} Control
 * @typedef {{ image?: Buffer, mask_image?: Buffer, controls: Buffer[], ip_adapters: Buffer[] }} Pictures raw pixels of the image's size: RGB, and one channel for the mask
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
    prompt: `${words(3)} ${kind === 'embedding' ? `${pick(Object.keys(EMBEDDINGS))} ` : ''}${index}`,
    ...(random() < 0.5 ? { negative_prompt: words(2) } : {}),
    ...(manner === 'repeat' || manner === 'reuse' ? {} : { seed: Math.floor(random() * 2 ** 32) }),
    num_inference_steps: 2 + Math.floor(random() * 11),
    guidance_scale: pick([0, 1.5, 7]),
    width,
    height,
    scheduler: pick(['euler', 'ddim', 'dpmpp_2m']),
    ...(kind === 'lora' ? { loras: [{ name: pick(Object.keys(LORAS)), weight: pick([0.5, 1]) }] } : {}),
    ...(kind === 'hires'
      ? { hires: hiresOf(pick(SIZES), pick([0.5, 0.75, 1]), pick([undefined, 'latent', 'latent-nearest-exact'])) }
      : {}),
    ...(STARTED.has(kind) ? { strength: pick([0.5, 0.75, 1]) } : {}),
    ...(FOLLOWING.has(kind) ? followedBy(pick) : {})
  }
  const pictures = picturesOf(kind, body, width * height, random)
  const keyed = manner === 'retry' || manner === 'repeat' || manner === 'reuse'
  const form = (STARTED.has(kind) || FOLLOWING.has(kind)) && random() < 0.5
  return { index, manner, body, pictures, form, key: keyed ? `${run}-${index}` : undefined }
}

/**
 * @param {[number, number]} size
 * @param {number} strength
 * @param {string | undefined} upscaler
 */
function hiresOf([width, height], strength, upscaler) {
  return { width, height, strength, ...(upscaler === undefined ? {} : { upscaler }) }
}

/**
 * @param {(list: readonly any[]) => any} pick
 * @returns {Required<Pick<Body, 'controls' | 'ip_adapters'>>}
 */
function followedBy(pick) {
  const control = () => {
    const preprocessor = pick([undefined, 'canny', 'lineart'])
    return {
      name: pick(Object.keys(NETS)),
      ...(preprocessor === undefined ? {} : { preprocessor }),
      controlnet_conditioning_scale: pick([0, 0.5, 1])
    }
  }
  return {
    controls: Array.from({ length: pick([1, 2]) }, control),
    ip_adapters: pick([[], [{ name: 'plus', scale: 0.6 }]])
  }
}

/**
 * @param {Kind} kind
 * @param {Body} body
 * @param {number} pixels
 * @param {() => number} random
 * @returns {Pictures}
 */
function picturesOf(kind, { controls = [], ip_adapters = [] }, pixels, random) {
  const bytes = (/** @type {number} */ count, /** @type {() => number} */ next) =>
    Buffer.from(Uint8Array.from({ length: count }, next))
  const image = () => bytes(pixels * 3, () => Math.floor(random() * 256))
  return {
    ...(STARTED.has(kind) ? { image: image() } : {}),
    ...(STARTED.has(kind) && kind !== 'picture' ? { mask_image: bytes(pixels, () => (random() < 0.5 ? 0 : 255)) } : {}),
    controls: controls.map(image),
    ip_adapters: ip_adapters.map(image)
  }
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
