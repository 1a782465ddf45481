import type { Recipe } from '../../src/image/recipe.js'

/** A recipe for tests of what is written about an image; its values mean nothing else. */
export const someRecipe: Recipe = {
  prompt: 'a fox',
  negative_prompt: 'fog',
  seed: 5,
  num_inference_steps: 20,
  guidance_scale: 7,
  scheduler: 'dpmpp_2m_karras',
  width: 64,
  height: 32,
  output_format: 'png',
  model: 'm',
  model_digest: '0123456789abcdef',
  version: '1'
}
