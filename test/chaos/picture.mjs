// @ts-check
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import { root } from '../../tools/run.mjs'
import { fakeLatents, fakePixels, jobDigest } from '../support/fake-text.mjs'
import { ADAPTERS, digestOf, EMBEDDINGS, LORAS, NETS } from './random-requests.mjs'

/** What the prompts of a run may use. */
const ABILITIES = {
  features: ['embeddings'],
  limits: { max_chunks: 1 },
  comingFeatures: [],
  comingMaxChunks: 1,
  embeddings: Object.entries(EMBEDDINGS).map(([name, text]) => ({
    name,
    digest: digestOf(text),
    vectors: Number(text)
  }))
}

/**
 * Returns a function that tells whether a PNG is a request's picture, by the built gateway's tokenizers and filters, and
 * the definition of the fake engine's picture.
 *
 * @returns {Promise<(png: Buffer, plan: import('./random-requests.mjs').Plan, seed: number) => Promise<boolean>>}
 */
export async function pictureChecker() {
  const load = (/** @type {string} */ file) => import(pathToFileURL(join(root, 'dist', file)).href)
  const { SdxlTokenizers } = await load('tokenizer/index.js')
  const { tokenizePrompts } = await load('service/prompt-job.js')
  const { resized } = await load('pictures/transform.js')
  const { canny, lineart } = await load('pictures/lines/lines.mjs')
  // Vitest wraps what it imports, and a promise cannot be wrapped.
  const cv = await createRequire(import.meta.url)('@techstark/opencv-js')
  const tokenizers = await SdxlTokenizers.fromModelFolder(join(root, 'models/demo'))
  /**
   * @param {{ width: number, height: number, data: Buffer }} picture
   * @param {'canny' | 'lineart' | undefined} preprocessor
   */
  const linesOf = (picture, preprocessor) => {
    if (preprocessor === undefined) return picture.data
    const lines = preprocessor === 'canny' ? canny(cv, picture, 100, 200) : lineart(cv, picture)
    return Buffer.from(Uint8Array.from(picture.data, (_, i) => lines[Math.floor(i / 3)]))
  }
  return async (png, { body, pictures }, seed) => {
    const {
      num_inference_steps: steps,
      strength = 1,
      loras,
      controls = [],
      ip_adapters = [],
      guidance_scale: guidance,
      scheduler,
      width,
      height,
      hires
    } = body
    const fields = { negative_prompt: '', ...body, prompt_syntax: 'plain', guidance_start: 0, guidance_end: 1 }
    const job = {
      ...tokenizePrompts(fields, tokenizers, ABILITIES, false).job,
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
    }
    const last = hires === undefined ? job : await secondOf(job, hires, resized)
    const digest = jobDigest(last)
    const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true })
    return info.width === last.width && info.height === last.height && data.subarray(0, digest.length).equals(digest)
  }
}

/**
 * The job of a second pass.
 *
 * @param {import('../support/fake-text.mjs').FakeJob} first
 * @param {{ width: number, height: number, strength: number, upscaler?: string }} hires
 * @param {(pixels: object, size: object, mode: string) => Promise<{ data: Buffer }>} resized the gateway's
 */
async function secondOf(first, { width, height, strength, upscaler }, resized) {
  const second = { ...first, width, height, steps: Math.trunc(first.steps * strength), schedule_steps: first.steps }
  if (upscaler !== undefined) {
    const pictures = [{ role: 'latents', pixels: fakeLatents({ ...first, output_type: 'latent' }) }]
    return { ...second, latents_upscaler: upscaler, pictures }
  }
  const made = { width: first.width, height: first.height, channels: 3, data: fakePixels(first) }
  const { data } = await resized(made, { width, height }, 'default')
  return { ...second, pictures: [{ role: 'image', pixels: data }] }
}

/** @param {{ name: keyof typeof import('./random-requests.mjs').LORAS, weight: number }} use */
function usedLora({ name, weight }) {
  return { name, digest: digestOf(LORAS[name]), unet_weight: weight, text_weight: weight }
}
