// @ts-check
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import { root } from '../../tools/run.mjs'
import { jobDigest } from '../support/fake-text.mjs'
import { ADAPTERS, digestOf, LORAS, NETS } from './random-requests.mjs'

/**
 * Returns a function that tells whether a PNG is a request's picture, by the built gateway's tokenizers and the definition
 * of the fake engine's picture.
 *
 * @returns {Promise<(png: Buffer, plan: import('./random-requests.mjs').Plan, seed: number) => Promise<boolean>>}
 */
export async function pictureChecker() {
  const load = (/** @type {string} */ file) => import(pathToFileURL(join(root, 'dist', file)).href)
  const { SdxlTokenizers } = await load('tokenizer/index.js')
  const { canny } = await load('pictures/lines/canny.mjs')
  const { lineart } = await load('pictures/lines/lineart.mjs')
  const tokenizers = await SdxlTokenizers.fromModelFolder(join(root, 'models/demo'))
  /**
   * @param {{ width: number, height: number, data: Buffer }} picture
   * @param {'canny' | 'lineart' | undefined} preprocessor
   */
  const linesOf = (picture, preprocessor) => {
    if (preprocessor === undefined) return picture.data
    const lines = preprocessor === 'canny' ? canny(picture, 100, 200) : lineart(picture)
    return Buffer.from(Uint8Array.from(picture.data, (_, i) => lines[Math.floor(i / 3)]))
  }
  return async (png, { body, pictures }, seed) => {
    const {
      prompt,
      negative_prompt = '',
      num_inference_steps: steps,
      strength = 1,
      loras,
      controls = [],
      ip_adapters = [],
      guidance_scale: guidance,
      scheduler,
      width,
      height
    } = body
    const negative = negative_prompt === '' ? null : tokenizers.encode(negative_prompt)
    const digest = jobDigest({
      prompt: tokenizers.encode(prompt),
      negative,
      seed,
      steps: Math.trunc(steps * strength),
      schedule_steps: steps,
      guidance,
      scheduler,
      width,
      height,
      clip_skip: 0,
      ...(loras === undefined ? {} : { loras: loras.map(usedLora) }),
      controls: controls.map(({ name, controlnet_conditioning_scale: scale }) => ({
        name,
        digest: digestOf(NETS[name]),
        scale
      })),
      ip_adapters: ip_adapters.map(({ name, scale }) => ({ name, digest: digestOf(ADAPTERS[name]), scale })),
      pictures: [
        ...(pictures.image === undefined ? [] : [{ role: 'image', pixels: pictures.image }]),
        ...(pictures.mask_image === undefined ? [] : [{ role: 'mask', pixels: pictures.mask_image }]),
        ...pictures.controls.map((data, index) => ({
          role: 'control',
          pixels: linesOf({ width, height, data }, controls[index]?.preprocessor)
        })),
        ...pictures.ip_adapters.map((pixels) => ({ role: 'ip_adapter', pixels }))
      ]
    })
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true })
    return info.width === width && info.height === height && data.subarray(0, digest.length).equals(digest)
  }
}

/** @param {{ name: keyof typeof import('./random-requests.mjs').LORAS, weight: number }} use */
function usedLora({ name, weight }) {
  return { name, digest: digestOf(LORAS[name]), unet_weight: weight, text_weight: weight }
}
