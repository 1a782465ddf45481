import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parametersText, recipeOfParameters } from '../../src/image/parameters.js'
import { someRecipe } from '../support/recipe.js'

const SCHEDULERS = [
  'euler',
  'euler_karras',
  'euler_ancestral',
  'ddim',
  'dpmpp_2m',
  'dpmpp_2m_karras',
  'dpmpp_2m_sde_karras',
  'dpmpp_3m_sde_exponential',
  'euler_beta',
  'heun',
  'dpm2_ancestral_karras',
  'lcm',
  'unipc',
  'unipc_karras',
  'dpmpp_3m_karras',
  'dpmpp_3m_sde',
  'tcd',
  'edm_dpmpp_2m'
]

describe("AUTOMATIC1111's parameters", () => {
  it("use AUTOMATIC1111's sampler names", () => {
    expect(parametersText(someRecipe)).toBe(
      'a fox\nNegative prompt: fog\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 64x32, Model hash: 0123456789, Model: m, Version: easel 1'
    )
    expect(parametersText({ ...someRecipe, scheduler: 'euler_ancestral' })).toContain('Sampler: Euler a, CFG')
  })

  it("are parsed with the schedule as a setting or in the sampler's name", () => {
    const text = (sampler: string) =>
      `masterpiece, (a fox:1.2)\nin the snow\nNegative prompt: blurry,\nlow quality\nSteps: 28, ${sampler}, CFG scale: 5.5, Seed: 3456789012, Size: 832x1216, Model hash: 31e35c80fc, Model: sd_xl_base_1.0, Hires prompt: "a, b: c", Version: v1.10.1`
    const expected = {
      prompt: 'masterpiece, (a fox:1.2)\nin the snow',
      negative_prompt: 'blurry,\nlow quality',
      seed: 3_456_789_012,
      num_inference_steps: 28,
      guidance_scale: 5.5,
      width: 832,
      height: 1216,
      output_format: 'png',
      truncate: true,
      prompt_syntax: 'a1111',
      model: 'sd_xl_base_1.0',
      model_digest: '31e35c80fc',
      version: 'v1.10.1'
    }
    expect(recipeOfParameters(text('Sampler: DPM++ 2M, Schedule type: Karras'), 'png')).toEqual({
      ...expected,
      scheduler: 'dpmpp_2m_karras'
    })
    expect(recipeOfParameters(text('Sampler: DPM++ 2M Karras'), 'png')).toEqual({
      ...expected,
      scheduler: 'dpmpp_2m_karras'
    })
    expect(recipeOfParameters(text('Sampler: Euler a, Schedule type: Automatic'), 'png')).toEqual({
      ...expected,
      scheduler: 'euler_ancestral'
    })
    expect(recipeOfParameters(text('Sampler: Restart'), 'png')).toEqual({ ...expected, scheduler: 'Restart' })
    expect(recipeOfParameters('a fox', 'png')).toBeUndefined()
  })

  it('survive a round trip', () => {
    const line = fc.string({ unit: 'grapheme' }).filter((text) => !/\n|\r|^Steps: |^Negative prompt: /.test(text))
    const recipes = fc.record({
      prompt: line,
      negative_prompt: line,
      seed: fc.nat(),
      num_inference_steps: fc.integer({ min: 1, max: 99 }),
      guidance_scale: fc.double({ min: 0, max: 20, noNaN: true }),
      scheduler: fc.constantFrom(...SCHEDULERS),
      width: fc.nat(),
      height: fc.nat(),
      output_format: fc.constant('png' as const),
      model: fc.constant('m'),
      model_digest: fc.constant('0123456789'),
      version: fc.constant('1')
    })
    fc.assert(
      fc.property(recipes, (recipe) => {
        expect(recipeOfParameters(parametersText(recipe), 'png')).toEqual({
          ...recipe,
          guidance_scale: recipe.guidance_scale + 0,
          truncate: true,
          version: 'easel 1'
        })
      })
    )
  })

  it('describe a second pass, and are read back unless another upscaler made it', () => {
    const hires = { width: 96, height: 64, strength: 0.5, num_inference_steps: 12 }
    const recipe = { ...recipeOfParameters('x\nSteps: 20, Size: 64x64', 'png')!, hires }
    const text = parametersText(recipe)
    expect(text).toContain('Denoising strength: 0.5, Hires resize: 96x64, Hires steps: 12, Hires upscaler: Bicubic')
    expect(recipeOfParameters(text, 'png')!.hires).toEqual(hires)
    expect(recipeOfParameters(text.replace('Bicubic', 'Lanczos'), 'png')).not.toHaveProperty('hires')
    const latent = { ...hires, upscaler: 'latent-nearest-exact' as const }
    const named = parametersText({ ...recipe, hires: latent })
    expect(named).toContain('Hires upscaler: Latent (nearest-exact), ')
    expect(recipeOfParameters(named, 'png')!.hires).toEqual(latent)
    const sameSteps = { ...recipe, hires: { width: 96, height: 64, strength: 0.5 } }
    expect(parametersText(sameSteps)).toContain('Hires steps: 20')
  })

  it('are parsed in linear time from any text', () => {
    fc.assert(fc.property(fc.string(), (text) => void recipeOfParameters(`Steps: ${text}`, 'png')))
    for (const text of ['a ', '"', '\\', 'a: "', ' ', 'a:', ',', ':', ', a'].map((part) =>
      part.repeat(30_000 / part.length)
    )) {
      expect(recipeOfParameters(`Steps: 1, ${text}`, 'png')).toBeDefined()
      expect(recipeOfParameters(`${text}\nNegative prompt: ${text}\nSteps: 1`, 'png')).toBeDefined()
    }
    expect(recipeOfParameters(`${' '.repeat(65_536)}\nSteps: 1`, 'png')).toBeUndefined()
  })
})
