import sharp from 'sharp'
import { expect } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import type { Recipe } from '../../src/image/recipe.js'
import type { LatentUpscaler } from '../../src/upscalers.js'
import { SdxlTokenizers } from '../../src/tokenizer/index.js'
import { fakePicture } from './fake-image.js'
import { fakeLatents } from './fake-text.mjs'

const tokenizers = await SdxlTokenizers.fromModelFolder(loadOptions([], {}).models[0]!.path)

/** The pictures of an image, as its worker gets them: all but those for IP-Adapters at the size of the recipe. */
export type Frames = readonly { role: 'image' | 'mask' | 'latents' | 'control' | 'ip_adapter'; pixels: Buffer }[]

/** The picture that the fake engine makes for a recipe, with the demo model's tokenizers. */
export function recipePicture(recipe: Recipe, weights = '', pictures: Frames = []): Buffer {
  return fakePicture(jobOf(recipe, pictures), weights)
}

/** The same of an image whose second pass begins from the latents of the first. */
export function recipePictureFromLatents({ hires, ...first }: Recipe): Buffer {
  const { width, height, strength = 0.7, num_inference_steps = first.num_inference_steps, upscaler } = hires!
  const pixels = fakeLatents({ ...jobOf(first, []), output_type: 'latent' })
  const second = jobOf({ ...first, width, height, strength, num_inference_steps }, [{ role: 'latents', pixels }])
  return fakePicture({ ...second, latents_upscaler: upscaler as LatentUpscaler })
}

function jobOf(recipe: Recipe, pictures: Frames) {
  const tokens = (text: string) => {
    const { ids, ids_2 } = tokenizers.encode(text)
    return { ids, ids_2 }
  }
  return {
    prompt: tokens(recipe.prompt),
    negative: recipe.negative_prompt === '' ? null : tokens(recipe.negative_prompt),
    seed: recipe.seed,
    steps: Math.floor(recipe.num_inference_steps * (recipe.strength ?? 1)),
    schedule_steps: recipe.num_inference_steps,
    pictures,
    guidance: recipe.guidance_scale,
    scheduler: recipe.scheduler,
    width: recipe.width,
    height: recipe.height,
    clip_skip: 0,
    guidance_start: recipe.guidance_start ?? 0,
    guidance_end: recipe.guidance_end ?? 1,
    cache_interval: recipe.cache_interval ?? 1,
    cache_order: recipe.cache_order ?? 0,
    ...(recipe.aesthetic_score === undefined ? {} : { aesthetic_score: recipe.aesthetic_score }),
    ...(recipe.denoising_end === undefined ? {} : { denoising_end: recipe.denoising_end }),
    ...(recipe.loras === undefined ? {} : { loras: recipe.loras }),
    controls: (recipe.controls ?? []).map(({ name, digest, ...values }) => ({
      name,
      digest,
      scale: values.controlnet_conditioning_scale ?? 1,
      start: values.control_guidance_start ?? 0,
      end: values.control_guidance_end ?? 1
    })),
    ip_adapters: (recipe.ip_adapters ?? []).map(({ name, digest, scale = 1 }) => ({ name, digest, scale }))
  }
}

/**
 * The recipe of an answer whose picture is what the fake engine makes for it.
 *
 * @param weights the --fake-weights of each model
 */
export async function checkedRecipe(answer: Response, weights: Readonly<Record<string, string>>): Promise<Recipe> {
  expect(answer.status, await answer.clone().text()).toBe(200)
  const recipe = JSON.parse(answer.headers.get('easel-recipe')!) as Recipe
  const file = Buffer.from(await answer.arrayBuffer())
  const pixels = await sharp(file).removeAlpha().raw().toBuffer()
  expect(pixels.equals(recipePicture(recipe, weights[recipe.model]))).toBe(true)
  return recipe
}
