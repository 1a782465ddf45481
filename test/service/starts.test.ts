import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EaselError } from '../../src/errors.js'
import type { GenerateRequest } from '../../src/schemas/generate.js'
import { checkStart, sizeFor, startOf, startWireOf, stepsRun } from '../../src/service/starts.js'
import type { Decided } from '../../src/service/decisions.js'
import type { Capabilities } from '../../src/workers/capabilities.js'

const IMAGE = 'a'.repeat(64)
const MASK = 'b'.repeat(64)
const model = { features: ['image_to_image', 'inpainting'], comingFeatures: [] as string[] } as unknown as Capabilities

/** What a request with these fields decides, as far as starts look at it. */
function decided(request: Partial<GenerateRequest>): Decided {
  return {
    num_inference_steps: 40,
    width: 64,
    height: 32,
    ...request,
    ...startOf({ prompt: 'x', ...request })
  } as Decided
}

function refusalOf(request: Partial<GenerateRequest>): EaselError | undefined {
  try {
    checkStart({ prompt: 'x', ...request }, decided(request), model)
    return undefined
  } catch (error) {
    if (error instanceof EaselError) return error
    throw error
  }
}

const steps = fc.integer({ min: 1, max: 1000 })
const strength = fc.double({ min: 0, max: 1, noNaN: true })

describe('the steps of a strength', () => {
  // Python: [min(int(n * s), n) for n, s in ...], as diffusers' get_timesteps.
  it.each([
    [40, 0.3, 12],
    [40, 0.9999, 39],
    [50, 0.58, 28],
    [10, 0.7, 7],
    [100, 0.29, 28],
    [3, 1 / 3, 1],
    [49, 1 / 49, 0],
    [1, 1, 1],
    [1000, 0.001, 1]
  ])('%d steps of strength %d run %d', (num_inference_steps, strength, run) => {
    expect(stepsRun({ num_inference_steps, strength })).toBe(run)
  })

  it('are never more than all, and grow with the strength', () => {
    fc.assert(
      fc.property(steps, strength, strength, (num_inference_steps, a, b) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)].map((strength) =>
          stepsRun({ num_inference_steps, strength })
        )
        expect(less).toBeLessThanOrEqual(more!)
        expect(more).toBeLessThanOrEqual(num_inference_steps)
        expect(stepsRun({ num_inference_steps, strength: 1 })).toBe(num_inference_steps)
      })
    )
  })

  it('are refused when none, with a strength that runs one', () => {
    fc.assert(
      fc.property(steps, strength, (num_inference_steps, strength) => {
        const refusal = refusalOf({ image: IMAGE, num_inference_steps, strength })
        expect(refusal === undefined).toBe(stepsRun({ num_inference_steps, strength }) > 0)
        if (refusal === undefined) return
        expect(refusal.field).toBe('strength')
        const advised = Number(/at least ([\d.]+):/.exec(refusal.message)![1])
        expect(refusalOf({ image: IMAGE, num_inference_steps, strength: advised })).toBeUndefined()
      })
    )
  })

  it('are sent with those of the schedule only if they differ', () => {
    expect(startWireOf(decided({}))).toEqual({})
    expect(startWireOf(decided({ image: IMAGE }))).toEqual({
      steps: 12,
      schedule_steps: 40,
      pictures: [{ role: 'image', width: 64, height: 32, channels: 3 }]
    })
    expect(startWireOf(decided({ image: IMAGE, mask_image: MASK, strength: 1 }))).toEqual({
      steps: 40,
      pictures: [
        { role: 'image', width: 64, height: 32, channels: 3 },
        { role: 'mask', width: 64, height: 32, channels: 1 }
      ]
    })
  })
})

describe('a model that only changes pictures', () => {
  const refiner = { ...model, features: [...model.features, 'pictures_only'], model: { id: 'refiner' } } as Capabilities

  it('refuses a request without one by name, and takes one with it', () => {
    const check = (request: Partial<GenerateRequest>) => () =>
      checkStart({ prompt: 'x', ...request }, decided(request), refiner)
    expect(check({})).toThrow('image must be sent: refiner changes pictures and makes none from text alone')
    expect(check({ image: IMAGE })).not.toThrow()
    expect(check({ strength: 0.5 })).toThrow('strength needs image')
  })
})

describe('the size for a picture', () => {
  const size = fc.tuple(fc.integer({ min: 8, max: 2048 }), fc.integer({ min: 8, max: 2048 }))
  const sizes = fc.array(size, { minLength: 1, maxLength: 12 })
  const far = (a: number, b: number) => Math.abs(Math.log(a / b))

  it('is offered, and none has a nearer aspect ratio', () => {
    fc.assert(
      fc.property(size, sizes, ([width, height], sizes) => {
        const found = sizeFor({ width, height }, sizes, {})!
        expect(sizes).toContainEqual([found.width, found.height])
        const own = far(found.width / found.height, width / height)
        for (const [w, h] of sizes) expect(own).toBeLessThanOrEqual(far(w / h, width / height) + 1e-9)
      })
    )
  })

  it('has the nearest area of those with the same aspect ratio', () => {
    const sizes = [
      [512, 512],
      [1024, 1024],
      [768, 768]
    ] as const
    expect(sizeFor({ width: 700, height: 700 }, sizes, {})).toEqual({ width: 768, height: 768 })
    expect(sizeFor({ width: 4000, height: 4000 }, sizes, {})).toEqual({ width: 1024, height: 1024 })
  })

  it('keeps a side that the request states', () => {
    const sizes = [
      [64, 64],
      [96, 64],
      [96, 32]
    ] as const
    expect(sizeFor({ width: 10, height: 10 }, sizes, { width: 96 })).toEqual({ width: 96, height: 64 })
    expect(sizeFor({ width: 10, height: 10 }, sizes, { width: 5 })).toBeUndefined()
  })
})
