import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { encodePng } from '../../src/image/png.js'
import { parametersText, type Recipe, recipeHeader } from '../../src/image/recipe.js'

const recipes: fc.Arbitrary<Recipe> = fc.record({
  prompt: fc.string({ unit: 'grapheme', maxLength: 4000 }),
  negative_prompt: fc.string({ unit: 'grapheme', maxLength: 50 }),
  seed: fc.nat(),
  num_inference_steps: fc.integer({ min: 1, max: 50 }),
  guidance_scale: fc.float({ min: 0, max: 100, noNaN: true }),
  scheduler: fc.constantFrom('euler', 'ddim'),
  width: fc.constant(3),
  height: fc.constant(2),
  model: fc.constant('sdxl'),
  model_digest: fc.constant('0123456789abcdef'),
  version: fc.constant('0.1.0')
})

describe('encodePng', () => {
  it('keeps every pixel and the whole recipe, whatever the prompt', async () => {
    await fc.assert(
      fc.asyncProperty(recipes, fc.uint8Array({ minLength: 18, maxLength: 18 }), fc.integer({ min: 0, max: 9 }), async (recipe, pixels, compression) => {
        const png = await encodePng({ width: 3, height: 2, pixels }, recipe, compression)
        const image = sharp(png)
        expect([...(await image.raw().toBuffer())]).toEqual([...pixels])
        const { comments } = await image.metadata()
        const text = (keyword: string) => comments?.find((comment) => comment.keyword === keyword)?.text
        expect(JSON.parse(text('easel')!)).toEqual(JSON.parse(JSON.stringify(recipe)))
        if (!parametersText(recipe).includes('\0')) expect(text('parameters')).toBe(parametersText(recipe))
      }),
      { numRuns: 50 }
    )
  })
})

describe('recipeHeader', () => {
  it('is JSON in printable ASCII, short enough for any proxy', () => {
    fc.assert(
      fc.property(recipes, (recipe) => {
        const header = recipeHeader(recipe)
        expect(header).toMatch(/^[ -~]*$/)
        expect(header.length).toBeLessThanOrEqual(4096)
        expect(recipe).toMatchObject(JSON.parse(header) as object)
      })
    )
  })
})
