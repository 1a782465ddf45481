import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { responseFormatOf, translate as translateTo } from '../../src/routes/openai/translate.js'
import type { OpenAiImagesRequest } from '../../src/schemas/openai.js'

const partials = fc.integer({ min: 1, max: 3 })
const steps = fc.integer({ min: 1, max: 100 })

const PRESETS = [{ name: 'few', num_inference_steps: 4 }]

const translate = (request: OpenAiImagesRequest, steps: number) =>
  translateTo(request, { steps, presets: PRESETS, sizes: [], defaultSize: undefined, snap: false })

describe('translate', () => {
  it('spreads previews evenly over the steps, at most `partial_images` of them', () => {
    fc.assert(
      fc.property(partials, steps, (partial_images, steps) => {
        const { preview_interval = 0 } = translate({ prompt: 'x', stream: true, partial_images }, steps)
        const made = Array.from({ length: steps - 1 }, (_, index) => index + 1).filter(
          (step) => step % preview_interval === 0
        )
        expect(made.length).toBeLessThanOrEqual(partial_images)
        // The last preview falls in the last part of the steps, where the picture is nearly finished.
        if (steps > (partial_images + 1) ** 2) expect(made).toHaveLength(partial_images)
        if (steps > (partial_images + 1) ** 2)
          expect(made.at(-1)!).toBeGreaterThanOrEqual((steps * partial_images) / (partial_images + 1))
      })
    )
  })

  it("counts a preset's steps for the previews, unless the request sets its own", () => {
    const stream = { prompt: 'x', stream: true, partial_images: 1, preset: 'few' }
    expect(translate(stream, 40)).toMatchObject({ preset: 'few', preview_interval: 2 })
    expect(translate({ ...stream, num_inference_steps: 20 }, 40)).toMatchObject({ preview_interval: 10 })
  })

  it("passes SDXL's own fields through", () => {
    const own = {
      negative_prompt: 'fog',
      seed: 1,
      num_inference_steps: 2,
      guidance_scale: 3,
      guidance_start: 0.1,
      guidance_end: 0.9,
      cache_interval: 2,
      scheduler: 'ddim'
    }
    expect(translate({ prompt: 'x', ...own }, 25)).toEqual({ prompt: 'x', ...own, truncate: true })
  })

  it('requests no previews without a stream, and drops null fields', () => {
    expect(translate({ prompt: 'x', partial_images: 3, n: null, size: 'auto', seed: null }, 25)).toEqual({
      prompt: 'x',
      truncate: true
    })
  })

  it('translates seed -1 to a random seed and jpg to jpeg', () => {
    expect(translate({ prompt: 'x', seed: -1, output_format: 'jpg' }, 25)).toEqual({
      prompt: 'x',
      output_format: 'jpeg',
      truncate: true
    })
  })

  const offered = [
    [1024, 1024],
    [832, 1216],
    [1216, 832],
    [1344, 768],
    [512, 512]
  ] as const
  const sizeFor = (size: string, { snap = false, sizes = offered as readonly (readonly [number, number])[] } = {}) => {
    const { width, height } = translateTo(
      { prompt: 'x', size },
      { steps: 25, presets: [], sizes, defaultSize: [1024, 1024], snap }
    )
    return [width, height]
  }

  it('snaps to the nearest offered size if asked to, else keeps the size', () => {
    const snap = true
    expect(sizeFor('1024x1792', { snap })).toEqual([832, 1216])
    expect(sizeFor('1792x1024', { snap })).toEqual([1344, 768])
    expect(sizeFor('256x256', { snap })).toEqual([512, 512])
    expect(sizeFor('1024x1792')).toEqual([1024, 1792])
    expect(sizeFor('512x512', { snap, sizes: [] })).toEqual([512, 512])
    fc.assert(
      fc.property(
        fc.constantFrom(...offered),
        (size) => void expect(sizeFor(size.join('x'), { snap })).toEqual([...size])
      )
    )
  })

  it.each([
    ['1:1', [1024, 1024]],
    ['2:2', [1024, 1024]],
    ['16:9', [1344, 768]],
    ['3:2', [1216, 832]],
    ['9:16', [832, 1216]],
    ['1000:1', [1344, 768]]
  ])('takes the offered size nearest to the ratio %s, of the area of the default', (ratio, size) => {
    expect(sizeFor(ratio)).toEqual(size)
  })

  it('leaves the size to the server for auto, and for a ratio while no sizes are known', () => {
    expect(sizeFor('auto')).toEqual([undefined, undefined])
    expect(sizeFor('16:9', { sizes: [] })).toEqual([undefined, undefined])
  })
})

describe('responseFormatOf', () => {
  it.each([
    ['dall-e-2', undefined, 'url'],
    ['dall-e-3', null, 'url'],
    ['dall-e-3', 'b64_json', 'b64_json'],
    ['gpt-image-1', undefined, 'b64_json'],
    [undefined, 'url', 'url'],
    [null, undefined, 'b64_json']
  ] as const)('for model %s and response_format %s is %s', (model, response_format, format) => {
    expect(responseFormatOf({ prompt: 'x', model, response_format } as OpenAiImagesRequest)).toBe(format)
  })
})
