import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { CANNY } from '../../src/pictures/preprocessors.js'
import { conditionsOf, conditionsWireOf, preprocessorOf } from '../../src/service/controls.js'
import type { Capabilities } from '../../src/workers/capabilities.js'

const digest = (letter: string) => letter.repeat(64)
const PICTURE = digest('e')
const model = {
  limits: { max_steps: 9, max_guidance_scale: 9, max_images: 9, max_controls: 2 },
  controls: [
    { name: 'canny', digest: digest('a'), kind: 'controlnet' },
    { name: 'xl/depth', digest: digest('b'), kind: 'controlnet' },
    { name: 'old/depth', digest: digest('c'), kind: 't2i-adapter' }
  ],
  ipAdapters: [{ name: 'plus', digest: digest('d'), tokens: 16 }]
} as unknown as Capabilities
type Asked = Partial<Parameters<typeof conditionsOf>[0]>
const resolve = (asked: Asked, having = model) => conditionsOf({ cache_interval: 1, ...asked }, {}, having)
const control = (more: object = {}) => ({ name: 'canny', image: PICTURE, ...more })

function refusal(asked: Asked, having = model) {
  try {
    resolve(asked, having)
  } catch (error) {
    expect(error).toBeInstanceOf(EaselError)
    const { code, field, message } = error as EaselError
    return { code, field, message }
  }
  return undefined
}

describe('conditionsOf', () => {
  it('has the digests of nets and pictures, and leaves out what has no effect', () => {
    expect(resolve({})).toEqual({})
    expect(resolve({ controls: [], ip_adapters: [] })).toEqual({})
    expect(resolve({ controls: [control({ name: 'xl/depth', low_threshold: undefined })] })).toEqual({
      controls: [{ name: 'xl/depth', digest: digest('b'), image_sha256: PICTURE, controlnet_conditioning_scale: 1 }]
    })
    expect(resolve({ ip_adapters: [{ name: 'plus', image: PICTURE }] })).toEqual({
      ip_adapters: [{ name: 'plus', digest: digest('d'), image_sha256: PICTURE, scale: 1 }]
    })
  })

  it('gives the same for its own result with the picture, byte for byte, whatever the order of the fields', () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true })
    const values = fc.record(
      {
        preprocessor: fc.constantFrom('none', 'canny', 'lineart'),
        resize_mode: fc.constantFrom('default', 'crop', 'fill'),
        controlnet_conditioning_scale: fc.double({ min: 0, max: 10, noNaN: true }),
        control_guidance_start: share.map((value) => value / 3),
        control_guidance_end: share.map((value) => 0.5 + value / 2)
      },
      { requiredKeys: [] }
    )
    fc.assert(
      fc.property(values, fc.boolean(), (given, reversed) => {
        const entry = Object.fromEntries(
          reversed ? Object.entries(control(given)).toReversed() : Object.entries(control(given))
        ) as ReturnType<typeof control>
        const [used] = resolve({ controls: [entry] }).controls!
        const again = resolve({ controls: [{ ...used!, image: PICTURE }] }).controls
        expect(JSON.stringify(again)).toBe(JSON.stringify([used]))
        const [wire] = conditionsWireOf({ controls: [used!] }).controls!
        expect(wire).toEqual({
          name: 'canny',
          digest: digest('a'),
          scale: given.controlnet_conditioning_scale ?? 1,
          ...((given.control_guidance_start ?? 0) === 0 ? {} : { start: given.control_guidance_start }),
          ...((given.control_guidance_end ?? 1) === 1 ? {} : { end: given.control_guidance_end })
        })
        const name = given.preprocessor ?? 'none'
        expect(preprocessorOf(used!)).toEqual(name === 'canny' ? { name, low: CANNY.low, high: CANNY.high } : { name })
      })
    )
  })

  it.each<[string, Asked, RegExp]>([
    [
      'a name that two nets have',
      { controls: [control({ name: 'depth' })] },
      /controls\[0\]\.name: "depth" could be xl\/depth, old\/depth: write the whole name/
    ],
    ['cached steps', { controls: [control()], cache_interval: 3 }, /^cache_interval must be 1 with controls, not 3/],
    [
      'cached steps with an adapter',
      { ip_adapters: [{ name: 'plus', image: PICTURE }], cache_interval: 2 },
      /^cache_interval must be 1 with ip_adapters/
    ],
    [
      'another picture than that of the recipe',
      { ip_adapters: [{ name: 'plus', image: PICTURE, image_sha256: digest('f') }] },
      /ip_adapters\[0\]\.image is another file/
    ],
    ['a second control that is wrong', { controls: [control(), control({ name: 'x' })] }, /^controls\[1\]\.name: /]
  ])('refuses %s', (_, asked, message) => {
    expect(refusal(asked)?.message).toMatch(message)
  })

  it('allows cached steps without pictures', () => {
    expect(resolve({ cache_interval: 3 })).toEqual({})
  })

  it('names the limit of the workers, and at most twenty names', () => {
    const one = { ...model, limits: { ...model.limits, max_controls: 1 } }
    expect(refusal({ controls: [control(), control()] }, one)).toEqual({
      code: 'LIMIT_EXCEEDED',
      field: 'controls',
      message: 'controls must have at most 1 entries'
    })
    const many = Array.from({ length: 21 }, (_, i) => ({ name: `n${i}`, digest: digest('a'), kind: 'controlnet' }))
    expect(refusal({ controls: [control()] }, { ...model, controls: many })?.message).toMatch(
      /n0, .*n19 and others, which GET \/controls lists$/
    )
  })
})
