import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { rowsOf } from '../../src/engine/job.js'
import type { Hello } from '../../src/engine/protocol.js'
import { NOTHING_SAVED, resolveSavings, type Savings, type SavingsDefaults, statedSavings } from '../../src/service/savings.js'

const limits = { max_steps: 9, max_guidance_scale: 9, max_images: 9 }
const able = { features: ['guidance_interval'], limits: { ...limits, max_cache_interval: 9 } } as Hello
const old = { limits } as Hello
const plain: SavingsDefaults = { defaultGuidanceStart: 0, defaultGuidanceEnd: 1, defaultCacheInterval: 1 }

const share = fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true }))
const interval = fc.tuple(share, share).map(([one, other]) => [Math.min(one, other), Math.max(one, other)] as const)
const cached = fc.integer({ min: 1, max: 9 })
const savings: fc.Arbitrary<Savings> = fc.tuple(interval, cached).map(([[guidance_start, guidance_end], cache_interval]) => ({ guidance_start, guidance_end, cache_interval }))
const operators: fc.Arbitrary<SavingsDefaults> = savings.map((s) => ({ defaultGuidanceStart: s.guidance_start, defaultGuidanceEnd: s.guidance_end, defaultCacheInterval: s.cache_interval }))

describe('what is saved', () => {
  it("is the request's word, else the operator's, else nothing", () => {
    expect(resolveSavings({}, able, plain)).toEqual(NOTHING_SAVED)
    expect(resolveSavings({}, able, { ...plain, defaultGuidanceEnd: 0.5 })).toEqual({ ...NOTHING_SAVED, guidance_end: 0.5 })
    expect(resolveSavings({ guidance_end: 1 }, able, { ...plain, defaultGuidanceEnd: 0.5 })).toEqual(NOTHING_SAVED)
  })

  it('comes again from what a recipe states of it, whatever the operator says', () => {
    fc.assert(
      fc.property(savings, operators, (saved, defaults) => {
        const stated = statedSavings(saved, defaults)
        expect(resolveSavings(stated, able, defaults)).toEqual(saved)
        if (defaults.defaultGuidanceStart === 0 && defaults.defaultGuidanceEnd === 1 && defaults.defaultCacheInterval === 1) expect(resolveSavings(stated, able, plain)).toEqual(saved)
      })
    )
    expect(statedSavings(NOTHING_SAVED, plain)).toEqual({})
  })

  it.each([
    ['guidance_start', { guidance_start: 0.5 }, { ...plain, defaultGuidanceEnd: 0.4 }],
    ['guidance_end', { guidance_end: 0.4 }, { ...plain, defaultGuidanceStart: 0.5 }]
  ])('names %s when that is what the request got wrong', (field, request, defaults) => {
    expect(() => resolveSavings(request, able, defaults)).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST', field }))
  })

  it.each([
    ['guidance_start', { guidance_start: 0.5 }],
    ['guidance_end', { guidance_end: 0.5 }],
    ['cache_interval', { cache_interval: 2 }]
  ])('is refused with %s where the workers cannot do it', (field, request) => {
    expect(() => resolveSavings(request, old, plain)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED_FEATURE', field }))
    expect(resolveSavings({ guidance_start: 0, guidance_end: 1 }, old, plain)).toEqual(NOTHING_SAVED)
  })
})

it('no step may be cached longer than the workers allow', () => {
  expect(resolveSavings({ cache_interval: 9 }, able, plain)).toEqual({ ...NOTHING_SAVED, cache_interval: 9 })
  expect(() => resolveSavings({ cache_interval: 10 }, able, plain)).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED', field: 'cache_interval' }))
})

describe('the rows of an image', () => {
  it('are two where any step is guided', () => {
    const job = { guidance: 5, guidanceStart: 0, guidanceEnd: 1, steps: 25, seeds: [1] }
    expect(rowsOf(job)).toBe(2)
    expect(rowsOf({ ...job, guidance: 1 })).toBe(1)
    expect(rowsOf({ ...job, guidanceStart: 0.5, guidanceEnd: 0.5 })).toBe(1)
    expect(rowsOf({ ...job, guidanceEnd: 0.039 })).toBe(1)
    expect(rowsOf({ ...job, guidanceEnd: 0.04, seeds: [1, 2] })).toBe(4)
  })
})
