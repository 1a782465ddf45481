import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sizeFor, startOf, stepsRun as serverSteps } from '../../../src/service/starts.js'
import { describeLoras } from '../../../src/webapp/page/model/loras.js'
import { fitting, History } from '../../../src/webapp/page/model/history.js'
import { firstPlacement, LEAST, moved, rectOf, scaled, stretched } from '../../../src/webapp/page/model/placement.js'
import { inOrder, type Picture, pictureId } from '../../../src/webapp/page/model/picture.js'
import {
  fromRecipe,
  knownOf,
  requestOf,
  type Settings,
  toRequest,
  unlike
} from '../../../src/webapp/page/model/settings.js'
import { Sources } from '../../../src/webapp/page/model/sources.js'
import { defaultStrength, nearestSize, stepsRun, varyStrength } from '../../../src/webapp/page/model/start.js'
import { memoryStore } from '../../../src/webapp/page/model/store.js'

const settings: Settings = {
  prompt: ' a pear ',
  negative_prompt: '',
  prompt_2: '',
  negative_prompt_2: '',
  prompt_syntax: undefined,
  model: undefined,
  loras: [],
  size: '64×48',
  hires: '',
  num_inference_steps: 24,
  guidance_scale: undefined,
  seed: undefined,
  num_images: undefined,
  preset: '',
  scheduler: '',
  timestep_spacing: '',
  resize_mode: '',
  output_format: 'png',
  quality: 90,
  previews: true,
  truncate: false
}

const REFINEMENTS = ['guidance_start', 'guidance_end', 'cache_interval'] as const

describe('toRequest', () => {
  it('sends only what was chosen, and leaves the rest to the server', () => {
    expect(toRequest(settings, 24)).toEqual({
      prompt: 'a pear',
      negative_prompt: '',
      width: 64,
      height: 48,
      num_inference_steps: 24,
      num_images: 1,
      output_format: 'png',
      preview_interval: 3
    })
    expect(toRequest({ ...settings, negative_prompt: undefined }, 24)).not.toHaveProperty('negative_prompt')
    expect(
      toRequest({ ...settings, size: '', previews: false, truncate: true, output_format: 'webp', seed: 0 }, 24)
    ).toEqual({
      prompt: 'a pear',
      negative_prompt: '',
      num_inference_steps: 24,
      seed: 0,
      num_images: 1,
      output_format: 'webp',
      quality: 90,
      truncate: true,
      preview_interval: 0
    })
  })
})

describe('a recipe', () => {
  const recipe = {
    prompt: 'p',
    negative_prompt: '',
    seed: 3,
    num_inference_steps: 9,
    guidance_scale: 2,
    scheduler: 'ddim',
    width: 8,
    height: 16,
    output_format: 'jpeg' as const,
    quality: 80,
    model: 'm',
    model_digest: 'd',
    version: 'v'
  }

  it('becomes a request without the model and version', () => {
    const { model: _m, model_digest: _d, version: _v, ...request } = recipe
    expect(requestOf(recipe, [])).toEqual(request)
  })

  it('names its model only if the server has several and this one', () => {
    expect(requestOf(recipe, ['m'])).not.toHaveProperty('model')
    expect(requestOf(recipe, ['a', 'b'])).not.toHaveProperty('model')
    expect(requestOf(recipe, ['a', 'm'])).toMatchObject({ model: 'm' })
  })

  it('is unlike a request by the values that the request lacks or changes', () => {
    const request = requestOf(recipe, [])
    expect(unlike(request, request)).toEqual([])
    expect(unlike({ ...request, embeddings: [{ name: 'e', digest: 'a'.repeat(64) }] }, request)).toEqual([])
    expect(unlike({ ...request, prompt: ' p ', clip_skip: 1 }, { ...request, seed: 4, num_images: 2 })).toEqual([
      'seed',
      'clip_skip'
    ])
  })

  it('sets its second pass, or clears it if it has none', () => {
    const hires = { width: 16, height: 32, strength: 0.5, num_inference_steps: 7, upscaler: 'latent' as const }
    const filled = { ...settings, ...fromRecipe({ ...recipe, hires }, []) }
    expect(filled).toMatchObject({ size: '8×16', hires: '16×32', hires_strength: 0.5, hires_steps: 7 })
    const request = toRequest(filled, 9)
    // 9 steps, and half of 7.
    expect(request).toMatchObject({ hires, preview_interval: Math.round((9 + 3) / 8) })
    expect(unlike(requestOf({ ...recipe, hires }, []), request)).toEqual([])
    expect(unlike(requestOf({ ...recipe, hires: { ...hires, width: 8 } }, []), request)).toEqual(['hires'])
    const cleared = toRequest({ ...filled, ...fromRecipe(recipe, []) }, 9)
    expect(Object.keys(cleared).filter((name) => name.startsWith('hires'))).toEqual([])
  })

  it('has no second pass beside a picture to start from', () => {
    const filled = { ...settings, ...fromRecipe({ ...recipe, hires: { width: 16, height: 32 } }, []) }
    expect(toRequest(filled, 9)).toHaveProperty('hires', { width: 16, height: 32 })
    expect(toRequest(filled, 9, { image: new Blob() })).not.toHaveProperty('hires')
  })

  it('sets its prompt syntax and second prompts, or clears them if it has none', () => {
    const own = { prompt_syntax: 'a1111', prompt_2: 'q', negative_prompt_2: 'n' } as const
    const filled = { ...settings, ...fromRecipe({ ...recipe, ...own }, []) }
    expect(toRequest(filled, 9)).toMatchObject(own)
    const cleared = toRequest({ ...filled, ...fromRecipe(recipe, []) }, 9)
    expect(cleared).toMatchObject({ prompt_syntax: 'plain' })
    expect(cleared).not.toHaveProperty('prompt_2')
    expect(cleared).not.toHaveProperty('negative_prompt_2')
  })

  it("sets its guidance interval, or clears the form's if it has none", () => {
    const part = fromRecipe({ ...recipe, guidance_start: 0.2, guidance_end: 0.8, cache_interval: 2 }, REFINEMENTS)
    expect(toRequest({ ...settings, ...part }, 9)).toMatchObject({
      guidance_start: 0.2,
      guidance_end: 0.8,
      cache_interval: 2
    })
    const whole = toRequest({ ...settings, ...part, ...fromRecipe(recipe, REFINEMENTS) }, 9)
    expect(whole).not.toHaveProperty('guidance_start')
    expect(whole).not.toHaveProperty('guidance_end')
    expect(whole).not.toHaveProperty('cache_interval')
  })

  it('sets its LoRAs, but for those that its prompt names', () => {
    const digest = 'a'.repeat(64)
    const loras = [
      { name: 'styles/ink', digest, unet_weight: 0.5, text_weight: 0.5 },
      { name: 'oil', digest, unet_weight: 1, text_weight: 0 }
    ]
    const chosen = [
      { name: 'styles/ink', weight: 0.5 },
      { name: 'oil', unet_weight: 1, text_weight: 0 }
    ]
    const request = (own: object) => toRequest({ ...settings, ...fromRecipe({ ...recipe, ...own }, []) }, 9)
    expect(request({ loras }).loras).toEqual(chosen)
    const tagged = { loras, prompt: 'a <lora:ink:0.5>', prompt_syntax: 'a1111' } as const
    expect(request(tagged).loras).toEqual(chosen.slice(1))
    expect(request({})).not.toHaveProperty('loras')
    const wanted = requestOf({ ...recipe, loras }, [])
    expect(unlike(wanted, { ...requestOf(recipe, []), loras: chosen })).toEqual([])
    expect(unlike(wanted, requestOf(recipe, []))).toEqual(['loras'])
    expect(describeLoras(chosen)).toBe('styles/ink 0.5, oil 1 (text 0)')
  })

  it('sets truncate if its prompt was cut, and clears it otherwise', () => {
    const cut = { ...recipe, truncate: true as const }
    expect(toRequest({ ...settings, ...fromRecipe(cut, []) }, 9)).toMatchObject({ truncate: true })
    expect(
      toRequest({ ...settings, ...fromRecipe(cut, []), ...fromRecipe(recipe, REFINEMENTS) }, 9)
    ).not.toHaveProperty('truncate')
    expect(requestOf(cut, [])).toMatchObject({ truncate: true })
    // From a server that does not send recipes.
    expect(knownOf({ prompt: 'p', truncate: true }, { seed: 5, width: 8, height: 8 })).toMatchObject({ truncate: true })
  })

  it('becomes settings, fewer if less of it is known', () => {
    expect(fromRecipe(recipe, [])).toMatchObject({
      size: '8×16',
      num_images: 1,
      seed: 3,
      output_format: 'jpeg',
      quality: 80
    })
    const known = knownOf(
      { prompt: 'p', num_images: 4, preview_interval: 2, guidance_scale: 3 },
      { seed: 5, width: 8, height: 8 }
    )
    expect(known).toEqual({ prompt: 'p', guidance_scale: 3, seed: 5, width: 8, height: 8 })
    expect(fromRecipe(known, [])).toEqual({
      prompt: 'p',
      prompt_2: '',
      negative_prompt_2: '',
      prompt_syntax: 'plain',
      preset: '',
      strength: undefined,
      resize_mode: '',
      padding_mask_crop: undefined,
      timestep_spacing: '',
      loras: [],
      size: '8×8',
      hires: '',
      hires_upscaler: '',
      guidance_scale: 3,
      seed: 5,
      num_images: 1,
      truncate: false
    })
    // Without a recipe only its name says what else it set.
    const few = knownOf({ prompt: 'p', preset: 'few' }, { seed: 5, width: 8, height: 8 })
    expect(toRequest({ ...settings, ...fromRecipe(few, []) }, 9)).toMatchObject({ preset: 'few' })
  })
})

describe('the history', () => {
  const picture = (id: string, size = 10): Picture => ({
    id,
    createdAt: Number(id),
    blob: new Blob([new Uint8Array(size)]),
    recipe: { prompt: id, seed: 1, width: 1, height: 1 }
  })

  it('drops the oldest above its limits of number and bytes', async () => {
    const store = memoryStore()
    const history = new History(store, [], true, { pictures: 3, bytes: 100 })
    for (const id of ['1', '2', '3', '4']) await history.add(picture(id))
    expect(history.pictures.map(({ id }) => id)).toEqual(['4', '3', '2'])
    await history.add(picture('5', 85))
    expect(history.pictures.map(({ id }) => id)).toEqual(['5', '4'])
    expect((await store.all()).map(({ id }) => id)).toEqual(['5', '4'])
    await history.clear()
    expect([history.pictures, await store.all()]).toEqual([[], []])
  })

  it('sorts by newest request, then by index, whichever picture finished first', async () => {
    const store = memoryStore()
    const history = new History(store, [], true)
    const made = (run: string, index: number, createdAt: number): Picture => ({
      ...picture('0'),
      id: pictureId(run, index),
      createdAt
    })
    for (const [run, index, at] of [
      ['b', 1, 10],
      ['b', 0, 11],
      ['a', 10, 20],
      ['a', 2, 21],
      ['a', 0, 20]
    ] as const)
      await history.add(made(run, index, at))
    const order = ['a-0', 'a-2', 'a-10', 'b-0', 'b-1']
    expect(history.pictures.map(({ id }) => id)).toEqual(order)
    expect(new History(store, await store.all(), true).pictures.map(({ id }) => id)).toEqual(order)
    // A restored picture returns to its place.
    await history.delete(['a-2'])
    await history.add(made('a', 2, 21))
    expect(history.pictures.map(({ id }) => id)).toEqual(order)
  })

  it('sorts independently of the previous order', () => {
    const pictures = fc.uniqueArray(
      fc.record({ run: fc.constantFrom('a', 'b-1', '1'), index: fc.nat(12), at: fc.nat(5) }),
      { selector: ({ run, index }) => `${run} ${index}` }
    )
    fc.assert(
      fc.property(pictures, fc.infiniteStream(fc.nat()), (parts, keys) => {
        const given = parts.map(({ run, index, at }): Picture => ({
          ...picture('0'),
          id: pictureId(run, index),
          createdAt: at
        }))
        const mixed = given
          .map((one) => ({ one, key: keys.next().value as number }))
          .sort((a, b) => a.key - b.key)
          .map(({ one }) => one)
        expect(inOrder(mixed)).toEqual(inOrder(given))
        expect(inOrder(given)).toHaveLength(given.length)
      })
    )
  })

  it('always keeps the newest', () => {
    expect(fitting([picture('1', 500)], { pictures: 3, bytes: 100 })).toBe(1)
    expect(fitting([], { pictures: 3, bytes: 100 })).toBe(0)
  })

  it('shows a picture after storing it, and hides it after deleting it', async () => {
    const store = memoryStore()
    const steps: string[] = []
    const slow = (name: string, work: () => Promise<void>) => async () => {
      await new Promise((resolve) => setImmediate(resolve))
      await work()
      steps.push(name)
    }
    const history = new History(
      {
        ...store,
        put: (one) => slow(`kept ${one.id}`, () => store.put(one))(),
        delete: (ids) => slow('deleted', () => store.delete(ids))()
      },
      [],
      true
    )
    history.on('change', (pictures) => steps.push(`shown ${pictures.map(({ id }) => id).join()}`))
    await Promise.all([history.add(picture('1')), history.add(picture('2')), history.clear()])
    expect(steps).toEqual(['kept 1', 'shown 1', 'kept 2', 'shown 2,1', 'deleted', 'shown '])
  })

  it('shows a picture even if the browser has no room to store it', async () => {
    const full = { ...memoryStore(), put: () => Promise.reject(new Error('QuotaExceededError')) }
    const history = new History(full, [], true)
    await history.add(picture('1'))
    expect(history.pictures).toHaveLength(1)
  })
})

describe('a picture to start from', () => {
  const started = { ...settings, strength: 0.5, resize_mode: 'crop' as const }

  it('brings its fields into the request, which has none of them without it', () => {
    expect(toRequest(started, 24, { image: new Blob() })).toMatchObject({
      strength: 0.5,
      resize_mode: 'crop',
      // An eighth of the 12 steps that run.
      preview_interval: 2
    })
    const masked = { image: new Blob(), mask_image: new Blob() }
    expect(toRequest({ ...started, padding_mask_crop: 8 }, 24, { image: new Blob() })).not.toHaveProperty(
      'padding_mask_crop'
    )
    const part = toRequest({ ...started, padding_mask_crop: 8 }, 24, masked)
    expect(part).toMatchObject({ padding_mask_crop: 8 })
    expect(part).not.toHaveProperty('resize_mode')
    const plain = toRequest(started, 24)
    expect(plain).not.toHaveProperty('strength')
    expect(plain).not.toHaveProperty('resize_mode')
  })

  it("is counted in steps as the server does, and a variation's runs at least one", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.double({ min: 0, max: 1, noNaN: true }), (steps, strength) => {
        expect(stepsRun(steps, strength)).toBe(serverSteps({ strength, num_inference_steps: steps }))
        expect(stepsRun(steps, varyStrength(steps))).toBeGreaterThanOrEqual(1)
      })
    )
    const digest = 'a'.repeat(64)
    expect(defaultStrength({})).toBe(startOf({ prompt: 'p', image: digest }).strength)
    expect(defaultStrength({ mask_image: 1 })).toBe(
      startOf({ prompt: 'p', image: digest, mask_image: digest }).strength
    )
  })

  it('chooses the same size as the server', () => {
    const side = fc.integer({ min: 1, max: 4096 })
    fc.assert(
      fc.property(
        side,
        side,
        fc.array(fc.tuple(side, side), { minLength: 1, maxLength: 8 }),
        (width, height, sizes) => {
          const [across, down] = nearestSize({ width, height }, sizes)!
          expect({ width: across, height: down }).toEqual(sizeFor({ width, height }, sizes, {}))
        }
      )
    )
  })

  it('is remembered by its digest until newer ones take its room', async () => {
    const sources = new Sources(10)
    const [a, b] = [new Blob(['aaaaaa']), new Blob(['bbbbbb'])]
    sources.note({ image_sha256: 'a' }, { image: a })
    expect(await sources.find('a')).toBe(a)
    sources.note({ image_sha256: 'b' }, { image: b })
    expect(await sources.find('a')).toBeUndefined()
    expect(await sources.find('b')).toBe(b)
    const digest = createHash('sha256').update('aaaaaa').digest('hex')
    expect(await sources.find(digest, [b, a])).toBe(a)
  })
})

describe('the placement of a picture in a frame', () => {
  const side = fc.integer({ min: 8, max: 4096 })
  const size = fc.record({ width: side, height: side })
  const share = fc.double({ min: 0, max: 1, noNaN: true })
  const placement = fc.record({ scale: fc.double({ min: LEAST, max: 1, noNaN: true }), across: share, down: share })
  const by = fc.tuple(fc.integer({ min: -9000, max: 9000 }), fc.integer({ min: -9000, max: 9000 }))

  it('is inside, however it is moved and scaled', () => {
    fc.assert(
      fc.property(size, size, placement, by, (picture, frame, start, to) => {
        const all = [
          start,
          firstPlacement(picture, frame),
          moved(start, picture, frame, to),
          stretched(start, picture, frame, to),
          scaled(start, to[0])
        ]
        for (const { x, y, width, height } of all.map((each) => rectOf(each, picture, frame))) {
          expect(Math.min(x, y)).toBeGreaterThanOrEqual(0)
          expect(Math.min(width, height)).toBeGreaterThanOrEqual(1)
          expect(x + width).toBeLessThanOrEqual(frame.width)
          expect(y + height).toBeLessThanOrEqual(frame.height)
        }
      })
    )
  })

  it('moves by whole pixels, and keeps its upper left corner where the lower right one is dragged', () => {
    const [picture, frame] = [
      { width: 600, height: 400 },
      { width: 1000, height: 1000 }
    ]
    const at = { scale: 0.5, across: 0.25, down: 0.5 }
    const before = rectOf(at, picture, frame)
    const after = rectOf(moved(at, picture, frame, [10, -7]), picture, frame)
    expect(after).toEqual({ ...before, x: before.x + 10, y: before.y - 7 })
    const larger = rectOf(stretched(at, picture, frame, [before.x + 600, before.y + 300]), picture, frame)
    expect(larger).toEqual({ x: before.x, y: before.y, width: 600, height: 400 })
  })
})
