import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import { rowsOf } from '../../src/workers/job.js'
import { type Capabilities, canRun } from '../../src/workers/capabilities.js'
import type { Hello } from '../../src/workers/protocol.js'
import { type Defaults, NEUTRAL, type Parameter, parameters, parametersWith } from '../../src/parameters.js'
import type { GenerateRequest } from '../../src/schemas/generate.js'
import { type Decided, defaultsOf, recipeOf, statedOf, wireOf } from '../../src/service/decisions.js'
import { resolveRequest } from '../../src/service/resolve.js'

const MOST = 9
const limits = { max_steps: MOST, max_guidance_scale: MOST, max_images: MOST }
const model = {
  sizes: [[64, 64]],
  compiling: [],
  schedulers: ['euler'],
  defaults: {
    width: 64,
    height: 64,
    num_inference_steps: 4,
    guidance_scale: 5,
    scheduler: 'euler',
    negative_prompt: 'grey'
  },
  comingFeatures: [],
  limits
} as unknown as Capabilities
const able = {
  ...model,
  features: parametersWith('feature').map(({ feature }) => feature as string),
  limits: { ...limits, ...Object.fromEntries(parametersWith('limit').map(({ limit }) => [limit, MOST])) }
}
const plain = loadOptions([], {}).defaults
const hello = (capabilities: Capabilities) => capabilities as unknown as Hello

type Refinements = typeof NEUTRAL

/** Any value of a parameter that the workers of this test take. */
function valueOf({ schema, neutral }: Parameter): fc.Arbitrary<unknown> {
  const form = schema as { type?: string; minimum?: number; maximum?: number; enum?: readonly unknown[] }
  const { type, minimum = 0, maximum = MOST, enum: values } = form
  if (values !== undefined) return fc.constantFrom(...values)
  const max = Math.min(maximum, MOST)
  const any = type === 'integer' ? fc.integer({ min: minimum, max }) : fc.double({ min: minimum, max, noNaN: true })
  return fc.oneof(fc.constant(neutral!), any)
}

const refinements = fc
  .record(Object.fromEntries(parametersWith('neutral').map((parameter) => [parameter.name, valueOf(parameter)])))
  .map((values) => {
    const { guidance_start: one, guidance_end: other } = values as Refinements
    return { ...values, guidance_start: Math.min(one, other), guidance_end: Math.max(one, other) } as Refinements
  })

const resolve = (request: Partial<GenerateRequest>, defaults: Defaults = plain, capabilities: Capabilities = able) =>
  resolveRequest({ prompt: 'x', ...request }, capabilities, defaults, () => 7)
const refined = (decided: Decided) =>
  Object.fromEntries(parametersWith('neutral').map(({ name }) => [name, decided[name]]))

describe('a preset', () => {
  const presets = [
    { name: 'spaced', num_inference_steps: 2, guidance_scale: 0, scheduler: 'euler', timestep_spacing: 'trailing' },
    { name: 'timed', num_inference_steps: 2, guidance_scale: 1, scheduler: 'lcm', timesteps: [999, 499] },
    { name: 'fresh', num_inference_steps: 3, guidance_scale: 0, scheduler: 'tcd', eta: 0.3 }
  ] as const
  const few = {
    ...able,
    schedulers: ['euler', 'ddim', 'lcm', 'tcd'],
    unspaced: ['lcm', 'tcd'],
    presets
  } as unknown as Capabilities
  const of = (request: Partial<GenerateRequest>, defaults: Defaults = plain) => {
    const decided = resolve(request, defaults, few)
    const set = parametersWith('preset').map(({ name }) => [name, decided[name]] as const)
    return Object.fromEntries(set.filter(([, value]) => value !== undefined))
  }

  it("sets its fields, also where the operator has a default, and leaves the model's defaults for the rest", () => {
    for (const { name, ...values } of presets) {
      expect(of({ preset: name })).toEqual(values)
      expect(of({ preset: name }, { ...plain, num_inference_steps: 8, scheduler: 'euler' })).toEqual(values)
    }
    expect(resolve({ preset: 'timed' }, plain, few)).toMatchObject({ width: 64, negative_prompt: 'grey' })
  })

  it('gives way to each field that the request sets', () => {
    const { name, ...values } = presets[0]
    expect(of({ preset: name, guidance_scale: 3 })).toEqual({ ...values, guidance_scale: 3 })
    expect(of({ preset: name, num_inference_steps: 5 })).toEqual({ ...values, num_inference_steps: 5 })
    expect(of({ preset: name, timestep_spacing: 'leading' })).toEqual({ ...values, timestep_spacing: 'leading' })
    expect(of({ preset: name, timesteps: [9, 5, 1] })).toEqual({
      ...values,
      num_inference_steps: 3,
      timesteps: [9, 5, 1]
    })
  })

  it('has its spacing for each sampler that takes one', () => {
    const [{ name, timestep_spacing, ...values }] = presets
    expect(of({ preset: name, scheduler: 'ddim' })).toEqual({ ...values, scheduler: 'ddim', timestep_spacing })
    expect(of({ preset: name, scheduler: 'lcm' })).toEqual({ ...values, scheduler: 'lcm' })
    // What the request itself says is not dropped: the worker refuses it, and names the field.
    expect(of({ preset: name, scheduler: 'lcm', timestep_spacing: 'leading' })).toMatchObject({
      timestep_spacing: 'leading'
    })
  })

  it('has timesteps for its own sampler and steps only, and eta for its sampler', () => {
    const timed = { num_inference_steps: 2, guidance_scale: 1, scheduler: 'lcm' }
    expect(of({ preset: 'timed', num_inference_steps: 2 })).toEqual({ ...timed, timesteps: [999, 499] })
    expect(of({ preset: 'timed', num_inference_steps: 3 })).toEqual({ ...timed, num_inference_steps: 3 })
    expect(of({ preset: 'timed', scheduler: 'euler' })).toEqual({ ...timed, scheduler: 'euler' })
    expect(of({ preset: 'timed', timesteps: [800, 300] })).toEqual({ ...timed, timesteps: [800, 300] })
    expect(of({ preset: 'timed', sigmas: [9, 1, 0] })).toEqual({ ...timed, sigmas: [9, 1, 0] })
    expect(of({ preset: 'fresh', eta: 0 })).toMatchObject({ eta: 0 })
    expect(of({ preset: 'fresh', num_inference_steps: 8 })).toMatchObject({ eta: 0.3 })
    expect(of({ preset: 'fresh', scheduler: 'euler' })).not.toHaveProperty('eta')
  })

  it('is gone from what is sent and kept, which have its values', () => {
    const decided = resolve({ preset: 'fresh' }, plain, few)
    const { name: _, ...values } = presets[2]
    expect(recipeOf(decided, plain, false)).toMatchObject(values)
    expect(recipeOf(decided, plain, false)).not.toHaveProperty('preset')
    expect(wireOf(decided)).toMatchObject({ steps: 3, guidance: 0, scheduler: 'tcd', eta: 0.3 })
    expect(wireOf(decided)).not.toHaveProperty('preset')
    expect(resolve(recipeOf(decided, plain, false) as GenerateRequest, plain, few)).toEqual(decided)
  })

  it('is refused with the names that fit if the model does not have it', () => {
    const refused = expect.objectContaining({
      code: 'UNSUPPORTED_PRESET',
      field: 'preset',
      message: 'preset must be one of spaced, timed, fresh'
    }) as Error
    expect(() => of({ preset: 'turbo' })).toThrow(refused)
    const none = { ...few, presets: [] }
    expect(() => resolve({ preset: 'timed' }, plain, none)).toThrow(
      'preset must be left out: this model has no presets'
    )
  })
})

describe('a parameter that a request omits', () => {
  it("gets the operator's default, else the model's, else the neutral value", () => {
    expect(resolve({})).toEqual({
      prompt: 'x',
      ...model.defaults,
      ...NEUTRAL,
      seed: 7,
      num_images: 1,
      output_format: 'png',
      quality: 90
    })
    const said = { ...plain, num_inference_steps: 8, guidance_end: 0.5 }
    expect(defaultsOf(able, said)).toEqual({ ...model.defaults, ...NEUTRAL, num_inference_steps: 8, guidance_end: 0.5 })
    expect(resolve({}, said)).toMatchObject({ num_inference_steps: 8, guidance_end: 0.5 })
    expect(resolve({ num_inference_steps: 3, guidance_end: 1, negative_prompt: '' }, said)).toMatchObject({
      num_inference_steps: 3,
      guidance_end: 1,
      negative_prompt: ''
    })
  })

  it.each(parametersWith('limit').map(({ name }) => name))('may not exceed the limit of the model: %s', (name) => {
    expect(resolve({ [name]: 9 })[name]).toBe(9)
    expect(() => resolve({ [name]: 10 })).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED', field: name, message: `${name} must be at most 9` })
    )
  })
})

describe('a parameter with a neutral value', () => {
  it('is reproduced from what a recipe states, whatever the defaults of the operator', () => {
    fc.assert(
      fc.property(refinements, refinements, (values, operators) => {
        const defaults = { ...plain, ...operators }
        const stated = statedOf(values, defaults)
        expect(refined(resolve(stated, defaults))).toEqual(values)
        // Without operator defaults, no neutral value is stated.
        expect(refined(resolve(statedOf(values, plain)))).toEqual(values)
      })
    )
    expect(statedOf(NEUTRAL, plain)).toEqual({})
  })

  it.each([
    ['guidance_start', { guidance_start: 0.5 }, { ...plain, guidance_end: 0.4 }],
    ['guidance_end', { guidance_end: 0.4 }, { ...plain, guidance_start: 0.5 }]
  ])('of an invalid interval is blamed if the request states it: %s', (field, request, defaults) => {
    expect(() => resolve(request, defaults)).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST', field }))
  })

  const refusable = parametersWith('neutral').filter(
    ({ feature, limit }) => feature !== undefined || limit !== undefined
  )
  it.each(refusable.map(({ name, neutral }) => [name, neutral] as const))(
    'is refused unless neutral if the workers do not support it: %s',
    (field, neutral) => {
      const { minimum, maximum } = parameters[field].schema as { minimum?: number; maximum?: number }
      const other = maximum === neutral ? minimum : maximum
      const unable = { ...model, features: [] }
      expect(() => resolve({ [field]: other }, plain, unable)).toThrow(
        expect.objectContaining({ code: 'UNSUPPORTED_FEATURE', field })
      )
      expect(refined(resolve({ [field]: neutral }, plain, unable))).toEqual(NEUTRAL)
    }
  )
})

describe('sizes that an image is conditioned on', () => {
  const sizes = { original_size: [512, 768], crops_coords_top_left: [0, 8] } satisfies Partial<GenerateRequest>

  it('are sent, and in the recipe, only if the request has them', () => {
    expect(wireOf(resolve(sizes))).toMatchObject(sizes)
    expect(recipeOf(resolve(sizes), plain, false)).toMatchObject(sizes)
    for (const part of [wireOf(resolve({})), recipeOf(resolve({}), plain, false)]) {
      expect(part).not.toHaveProperty('original_size')
      expect(part).not.toHaveProperty('crops_coords_top_left')
    }
  })

  it('are refused if the workers do not support them', () => {
    expect(() => resolve(sizes, plain, model)).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED_FEATURE',
        field: 'original_size',
        message: "original_size must be left out: the workers condition on the image's own size"
      })
    )
    expect(canRun(hello(able), { width: 64, height: 64, original_size: [512, 768] })).toBe(true)
    expect(canRun(hello(model), { width: 64, height: 64, original_size: [512, 768] })).toBe(false)
    expect(canRun(hello(model), { width: 64, height: 64 })).toBe(true)
  })

  it('of the negative prompt are given together', () => {
    const pair: [number, number] = [512, 512]
    for (const field of ['negative_original_size', 'negative_target_size', 'negative_crops_coords_top_left'] as const)
      expect(() => resolve({ [field]: pair })).toThrow(
        expect.objectContaining({ code: 'INVALID_REQUEST', message: expect.stringContaining(`${field} also needs`) })
      )
    const both = { negative_original_size: pair, negative_target_size: pair }
    expect(wireOf(resolve(both))).toMatchObject(both)
  })
})

describe('the part of a request sent', () => {
  it('to a worker omits neutral values', () => {
    expect(wireOf(resolve({}))).toEqual({ steps: 4, guidance: 5, scheduler: 'euler', width: 64, height: 64 })
    expect(wireOf(resolve({ guidance_start: 0.25, cache_interval: 3 }))).toEqual({
      steps: 4,
      guidance: 5,
      scheduler: 'euler',
      width: 64,
      height: 64,
      guidance_start: 0.25,
      cache_interval: 3
    })
  })

  it('in a recipe reproduces the request and keeps the order of the table', () => {
    const lossy = resolve({ output_format: 'webp', quality: 50, cache_interval: 3 })
    const recipe = recipeOf(lossy, plain, true)
    expect(Object.entries(recipe)).toEqual(
      Object.entries({
        prompt: 'x',
        negative_prompt: 'grey',
        seed: 7,
        num_inference_steps: 4,
        guidance_scale: 5,
        scheduler: 'euler',
        width: 64,
        height: 64,
        output_format: 'webp',
        quality: 50,
        truncate: true,
        cache_interval: 3
      })
    )
    expect(resolve(recipe)).toEqual(lossy)
    expect(recipeOf(resolve({}), plain, false)).toEqual({
      prompt: 'x',
      ...model.defaults,
      seed: 7,
      output_format: 'png'
    })
  })
})

describe('the rows of an image', () => {
  it('are two if any step is guided, otherwise one', () => {
    const job = { guidance: 5, steps: 25, seeds: [1] }
    expect(rowsOf(job)).toBe(2)
    expect(rowsOf({ ...job, guidance: 1 })).toBe(1)
    expect(rowsOf({ ...job, guidance_start: 0.5, guidance_end: 0.5 })).toBe(1)
    expect(rowsOf({ ...job, guidance_end: 0.039 })).toBe(1)
    expect(rowsOf({ ...job, guidance_end: 0.04, seeds: [1, 2] })).toBe(4)
    expect(rowsOf({ ...job, seeds: [1, 2] }, true)).toBe(2)
  })
})

describe('a schedule of a request', () => {
  it('decides the number of steps', () => {
    expect(resolve({ timesteps: [900, 500, 20] }).num_inference_steps).toBe(3)
    expect(resolve({ sigmas: [14, 3, 0] }).num_inference_steps).toBe(2)
    expect(wireOf(resolve({ timesteps: [900, 500, 20], eta: 0.3 }))).toMatchObject({
      steps: 3,
      timesteps: [900, 500, 20],
      eta: 0.3
    })
  })

  it.each([
    [{ timesteps: [900, 20], num_inference_steps: 3 }, 'timesteps', 'timesteps must have 3 entries'],
    [{ sigmas: [14, 0], num_inference_steps: 3 }, 'sigmas', 'sigmas must have 4 entries'],
    [{ timesteps: [900], sigmas: [14, 0] }, 'sigmas', 'timesteps and sigmas cannot be combined']
  ])('%j is refused', (request, field, message) => {
    expect(() => resolve(request)).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST', field, message: expect.stringContaining(message) })
    )
  })

  it('needs workers that take it', () => {
    expect(() => resolve({ timestep_spacing: 'trailing' }, plain, model)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED_FEATURE', field: 'timestep_spacing' })
    )
  })

  it('can be had later while a worker compiles what it needs', () => {
    const coming = { ...model, comingFeatures: ['schedules'] }
    expect(() => resolve({ timestep_spacing: 'trailing' }, plain, coming)).toThrow(
      expect.objectContaining({ code: 'NOT_READY', field: 'timestep_spacing' })
    )
  })

  it('is in the recipe, which gives the same image', () => {
    const decided = resolve({ sigmas: [14, 3, 0] })
    const recipe = recipeOf(decided, plain, false)
    expect(recipe).toMatchObject({ sigmas: [14, 3, 0], num_inference_steps: 2 })
    expect(resolve({ sigmas: recipe.sigmas!, num_inference_steps: 2 }).sigmas).toEqual([14, 3, 0])
  })
})
