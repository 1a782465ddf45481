// @ts-check
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import { root } from '../../tools/run.mjs'
import { jobDigest } from '../support/fake-text.mjs'
import { digestOf } from './random-requests.mjs'

/**
 * Returns a function that tells whether a PNG is a request's picture, by the built gateway's tokenizers and the definition
 * of the fake engine's picture.
 *
 * @returns {Promise<(png: Buffer, plan: import('./random-requests.mjs').Plan, seed: number) => Promise<boolean>>}
 */
export async function pictureChecker() {
  const { SdxlTokenizers } = await import(pathToFileURL(join(root, 'dist/tokenizer/index.js')).href)
  const tokenizers = await SdxlTokenizers.fromModelFolder(join(root, 'models/demo'))
  return async (png, { body, pictures }, seed) => {
    const {
      prompt,
      negative_prompt = '',
      num_inference_steps: steps,
      strength = 1,
      loras,
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
      pictures: [
        ...(pictures.image === undefined ? [] : [{ role: 'image', pixels: pictures.image }]),
        ...(pictures.mask_image === undefined ? [] : [{ role: 'mask', pixels: pictures.mask_image }])
      ]
    })
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true })
    return info.width === width && info.height === height && data.subarray(0, digest.length).equals(digest)
  }
}

/** @param {{ name: keyof typeof import('./random-requests.mjs').LORAS, weight: number }} use */
function usedLora({ name, weight }) {
  return { name, digest: digestOf(name), unet_weight: weight, text_weight: weight }
}
