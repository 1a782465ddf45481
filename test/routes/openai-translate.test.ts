import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { translate } from '../../src/routes/openai/translate.js'

const partials = fc.integer({ min: 1, max: 3 })
const steps = fc.integer({ min: 1, max: 100 })

describe('translate', () => {
  it('spreads previews evenly over the steps, and never asks for more than there may be', () => {
    fc.assert(
      fc.property(partials, steps, (partial_images, steps) => {
        const { preview_interval = 0 } = translate({ prompt: 'x', stream: true, partial_images }, steps)
        const made = Array.from({ length: steps - 1 }, (_, index) => index + 1).filter((step) => step % preview_interval === 0)
        expect(made.length).toBeLessThanOrEqual(partial_images)
        // The last one is in the last part of the steps, where the picture is nearly there.
        if (steps > (partial_images + 1) ** 2) expect(made).toHaveLength(partial_images)
        if (steps > (partial_images + 1) ** 2) expect(made.at(-1)!).toBeGreaterThanOrEqual((steps * partial_images) / (partial_images + 1))
      })
    )
  })

  it("hands on SDXL's own fields", () => {
    const own = { negative_prompt: 'fog', seed: 1, num_inference_steps: 2, guidance_scale: 3, guidance_start: 0.1, guidance_end: 0.9, cache_interval: 2, scheduler: 'ddim' }
    expect(translate({ prompt: 'x', ...own }, 25)).toEqual({ prompt: 'x', ...own, truncate: true })
  })

  it('asks for none without a stream, and leaves out what is null', () => {
    expect(translate({ prompt: 'x', partial_images: 3, n: null, size: 'auto', seed: null }, 25)).toEqual({ prompt: 'x', truncate: true })
  })
})
