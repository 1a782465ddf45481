// @ts-check
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import { root } from '../../tools/run.mjs'
import { jobDigest } from '../support/fake-text.mjs'

/**
 * Returns a function that tells whether a PNG is a request's picture, by the built gateway's tokenizers and the definition
 * of the fake engine's picture.
 *
 * @returns {Promise<(png: Buffer, body: import('./random-requests.mjs').Body, seed: number) => Promise<boolean>>}
 */
export async function pictureChecker() {
  const { SdxlTokenizers } = await import(pathToFileURL(join(root, 'dist/tokenizer/index.js')).href)
  const tokenizers = await SdxlTokenizers.fromModelFolder(join(root, 'models/demo'))
  return async (png, body, seed) => {
    const {
      prompt,
      negative_prompt = '',
      num_inference_steps: steps,
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
      steps,
      guidance,
      scheduler,
      width,
      height,
      clip_skip: 0
    })
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true })
    return info.width === width && info.height === height && data.subarray(0, digest.length).equals(digest)
  }
}
