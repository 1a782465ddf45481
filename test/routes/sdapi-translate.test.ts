import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { samplerOf } from '../../src/image/samplers.js'
import { imagesAnswer } from '../../src/routes/sdapi/answer.js'
import { img2img, txt2img } from '../../src/routes/sdapi/kinds.js'
import { choiceOf, listSamplers, listSchedules } from '../../src/routes/sdapi/samplers.js'
import { readSettings } from '../../src/routes/sdapi/settings.js'
import { secondPassOf } from '../../src/routes/sdapi/second-pass.js'
import { startOf } from '../../src/routes/sdapi/start.js'
import { translate } from '../../src/routes/sdapi/translate.js'
import { slicesOf } from '../../src/routes/answers/body.js'
import type { Recipe } from '../../src/image/recipe.js'
import type { SdapiImagesRequest, SdapiImg2ImgRequest, SdapiTxt2ImgRequest } from '../../src/schemas/sdapi.js'
import { someRecipe } from '../support/recipe.js'
import { WITH_HIRES, WITH_MASK } from '../../src/schemas/sdapi-fields.js'

const SCHEDULERS = [
  'euler euler_karras euler_exponential euler_beta euler_ancestral ddim ddpm heun heun_karras lcm tcd edm_euler',
  'dpmpp_2m dpmpp_2m_karras dpmpp_2m_exponential dpmpp_2m_beta dpmpp_3m_karras dpm2 dpm2_karras unipc unipc_karras',
  'dpmpp_2m_sde dpmpp_2m_sde_karras dpmpp_2m_sde_exponential'
].flatMap((names) => names.split(' '))
const offered = { schedulers: SCHEDULERS, usual: 'euler', maxClipSkip: 10 }

const choose = (sampler?: string, schedule?: string, schedulers: readonly string[] = SCHEDULERS) =>
  choiceOf({ sampler, schedule }, { schedulers, usual: schedulers[0]! })

const ask = (fields: object, from = offered, kind = txt2img) =>
  translate({ prompt: 'x', ...fields } as SdapiImagesRequest, kind, readSettings({}, ''), from)

function refusal(act: () => unknown): EaselError {
  try {
    act()
  } catch (error) {
    if (error instanceof EaselError) return error
    throw error
  }
  throw new Error('it was not refused')
}

describe('choiceOf', () => {
  it.each([
    ['DPM++ 2M', 'Karras', { scheduler: 'dpmpp_2m_karras' }],
    ['DPM++ 2M', 'karras', { scheduler: 'dpmpp_2m_karras' }],
    ['dpm++ 2m', 'exponential', { scheduler: 'dpmpp_2m_exponential' }],
    ['DPM++ 2M Karras', undefined, { scheduler: 'dpmpp_2m_karras' }],
    ['DPM++ 2M SDE Exponential', 'Automatic', { scheduler: 'dpmpp_2m_sde_exponential' }],
    ['DPM++ 2M Karras', 'karras', { scheduler: 'dpmpp_2m_karras' }],
    // Automatic, as the web UI has it.
    ['DPM++ 2M', undefined, { scheduler: 'dpmpp_2m_karras' }],
    ['DPM++ 2M', 'automatic', { scheduler: 'dpmpp_2m_karras' }],
    ['DPM++ 2M SDE', undefined, { scheduler: 'dpmpp_2m_sde_exponential' }],
    ['DPM2', 'Automatic', { scheduler: 'dpm2_karras' }],
    ['Euler', undefined, { scheduler: 'euler' }],
    // Timesteps.
    ['Euler', 'Normal', { scheduler: 'euler', timestep_spacing: 'linspace' }],
    ['Euler a', 'uniform', { scheduler: 'euler_ancestral', timestep_spacing: 'linspace' }],
    ['DPM++ 2M', 'SGM Uniform', { scheduler: 'dpmpp_2m', timestep_spacing: 'trailing' }],
    ['DPM++ 2M', 'SGMUniform', { scheduler: 'dpmpp_2m', timestep_spacing: 'trailing' }],
    ['Euler', 'simple', { scheduler: 'euler', timestep_spacing: 'trailing' }],
    ['Euler', 'ddim', { scheduler: 'euler', timestep_spacing: 'leading' }],
    ['Euler SGM Uniform', undefined, { scheduler: 'euler', timestep_spacing: 'trailing' }],
    ['DDIM', 'normal', { scheduler: 'ddim' }],
    ['DDIM', 'simple', { scheduler: 'ddim', timestep_spacing: 'trailing' }],
    ['UniPC', 'normal', { scheduler: 'unipc' }],
    ['UniPC', 'Karras', { scheduler: 'unipc_karras' }],
    // Our own names.
    ['dpmpp_2m', undefined, { scheduler: 'dpmpp_2m' }],
    ['dpmpp_2m', 'karras', { scheduler: 'dpmpp_2m_karras' }],
    ['dpmpp_2m_karras', 'karras', { scheduler: 'dpmpp_2m_karras' }],
    ['tcd', undefined, { scheduler: 'tcd' }],
    // Without a sampler.
    [undefined, undefined, {}],
    [undefined, 'Automatic', {}],
    [undefined, 'Karras', { scheduler: 'euler_karras' }]
  ])('for the sampler %s and the schedule %s is %o', (sampler, schedule, choice) => {
    expect(choose(sampler, schedule)).toEqual(choice)
  })

  it('reads back the names that our files have', () => {
    for (const scheduler of SCHEDULERS) {
      const { sampler, schedule } = samplerOf(scheduler)
      if (schedule !== undefined) expect(choose(sampler, schedule), scheduler).toEqual({ scheduler })
      expect(choose(scheduler), scheduler).toEqual({ scheduler })
    }
  })

  it('takes the plain sampler for Automatic if the model does not offer the usual one', () => {
    expect(choose('DPM++ 2M', undefined, ['dpmpp_2m', 'dpmpp_2m_beta'])).toEqual({ scheduler: 'dpmpp_2m' })
    expect(choose('DPM++ 2M', undefined, ['dpmpp_2m_beta'])).toEqual({ scheduler: 'dpmpp_2m_beta' })
  })

  it.each([
    ['LMS', undefined, 'scheduler', /^scheduler must be one of Euler, Euler a, DDIM, .*, not "LMS"$/],
    ['Euler a', 'Karras', 'timestep_spacing', /Karras is not offered with the sampler Euler a; use Automatic$/],
    ['DPM++ 2M SDE', 'Beta', 'timestep_spacing', /use Automatic or Karras or Exponential$/],
    ['Euler', 'polyexponential', 'timestep_spacing', /must be one of Automatic, Karras, .*, not "polyexponential"$/],
    ['DPM++ 2M Karras', 'Exponential', 'timestep_spacing', /must be Karras/],
    ['dpmpp_2m_karras', 'Normal', 'timestep_spacing', /must be Karras/],
    ['LCM', 'Normal', 'timestep_spacing', /Normal is not offered with the sampler LCM; use Automatic$/],
    ['edm_euler', 'Karras', 'timestep_spacing', /not offered with the sampler edm_euler/]
  ])('refuses the sampler %s with the schedule %s', (sampler, schedule, field, message) => {
    expect(refusal(() => choose(sampler, schedule))).toMatchObject({
      code: 'UNSUPPORTED_SCHEDULER',
      field,
      message: expect.stringMatching(message)
    })
  })
})

describe('the lists', () => {
  it('have only what choiceOf takes, and mean by Automatic what it does', () => {
    const schedules = listSchedules(SCHEDULERS, true)
    for (const { name, aliases, options } of listSamplers(SCHEDULERS)) {
      expect(choose(name, options.scheduler ?? 'automatic'), name).toEqual(choose(name))
      for (const alias of aliases) expect(choose(alias)).toEqual({ scheduler: alias })
    }
    for (const { name, label } of schedules) expect(choose('Euler', name)).toEqual(choose('Euler', label))
    expect(schedules.map(({ name }) => name)).toContain('exponential')
    expect(listSchedules(['euler', 'dpmpp_2m_karras'], false).map(({ name }) => name)).toEqual(['automatic', 'karras'])
  })
})

describe('translate', () => {
  it('passes what both APIs have', () => {
    const negative_prompt = 'fog'
    expect(
      ask({ negative_prompt, steps: 20, cfg_scale: 5.5, width: 832, height: 1216, seed: 3, batch_size: 2, n_iter: 3 })
    ).toEqual({
      prompt: 'x',
      prompt_syntax: 'a1111',
      negative_prompt,
      num_inference_steps: 20,
      guidance_scale: 5.5,
      width: 832,
      height: 1216,
      seed: 3,
      num_images: 6
    })
  })

  it('leaves what the request leaves out, or has as null, to the server', () => {
    const names = ['negative_prompt', 'steps', 'cfg_scale', 'width', 'seed', 'sampler_name', 'scheduler', 'clip_skip']
    const nulls = Object.fromEntries([...names, ...Object.keys(txt2img.fixed)].map((name) => [name, null]))
    for (const request of [{}, nulls, { seed: -1, batch_size: 1, n_iter: 1, sampler_name: '', scheduler: '' }])
      expect(ask(request)).toEqual({ prompt: 'x', prompt_syntax: 'a1111' })
  })

  it('takes fields for what Easel does not do only with their neutral values', () => {
    fc.assert(
      fc.property(
        fc
          .constantFrom(txt2img, img2img)
          .chain((kind) => fc.tuple(fc.constant(kind), fc.constantFrom(...Object.entries(kind.fixed)))),
        fc.jsonValue({ maxDepth: 1 }),
        ([kind, [field, { neutral, unable }]], value) => {
          for (const each of neutral) expect(() => ask({ [field]: each }, offered, kind)).not.toThrow()
          if (value === null || neutral.some((each) => JSON.stringify(each) === JSON.stringify(value))) return
          if (Object.is(value, -0)) return
          expect(refusal(() => ask({ [field]: value }, offered, kind))).toMatchObject({
            code: 'UNSUPPORTED_FEATURE',
            field,
            message: expect.stringMatching(new RegExp(`^${field} must be .*: ${unable}$`))
          })
        }
      )
    )
  })

  it('takes any value of fields without effect, and no value of unknown ones', () => {
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(txt2img.ignored)), fc.jsonValue(), (field, value) => {
        expect(ask({ [field]: value })).toEqual(ask({}))
      })
    )
    for (const empty of [null, false, 0, '', [], {}]) expect(ask({ hr_additional_modules: empty })).toEqual(ask({}))
    for (const [name, value] of [
      ['sampler', 'Euler'],
      ['toString', 1],
      ['distilled_cfg_scale', 3.5]
    ] as const)
      expect(refusal(() => ask({ [name]: value }))).toMatchObject({
        code: 'INVALID_REQUEST',
        field: undefined,
        message: `"${name}" is not a field of this request: leave it out`
      })
  })

  it('takes eta where the sampler has one', () => {
    expect(ask({ sampler_name: 'DDIM', eta: 0.5 })).toMatchObject({ scheduler: 'ddim', eta: 0.5 })
    expect(ask({ sampler_name: 'Euler a', eta: 1 })).not.toHaveProperty('eta')
    expect(ask({ sampler_name: 'Euler', eta: 0 })).not.toHaveProperty('eta')
    expect(ask({ eta: 0 }, { ...offered, usual: 'ddim' })).toHaveProperty('eta', 0)
    expect(refusal(() => ask({ sampler_name: 'Euler a', eta: 0 })).field).toBe('eta')
    expect(refusal(() => ask({ sampler_name: 'DPM++ 2M SDE', eta: 0.9 })).field).toBe('eta')
  })

  it('reads the Clip skip from either name', () => {
    const skip = (layers: number | undefined, clip_skip: number | undefined) =>
      translate(
        { prompt: 'x', clip_skip } as SdapiImagesRequest,
        txt2img,
        readSettings(layers === undefined ? {} : { CLIP_stop_at_last_layers: layers }, ''),
        offered
      ).clip_skip
    expect(skip(undefined, undefined)).toBeUndefined()
    for (const [layers, clip_skip] of [
      [1, 0],
      [2, 0],
      [3, 1],
      [12, 10]
    ] as const) {
      expect(skip(layers, undefined)).toBe(clip_skip)
      expect(skip(undefined, layers)).toBe(clip_skip)
      expect(skip(layers, layers)).toBe(clip_skip)
    }
    const field = 'override_settings.CLIP_stop_at_last_layers'
    expect(refusal(() => skip(3, 4))).toMatchObject({ code: 'INVALID_REQUEST', field })
    expect(refusal(() => skip(13, undefined))).toMatchObject({
      code: 'LIMIT_EXCEEDED',
      field,
      message: `${field} must be at most 12`
    })
  })

  it('asks for previews only if the client can ask for the progress', () => {
    expect(ask({ force_task_id: 'task' })).toMatchObject({ preview_interval: 10 })
  })
})

describe('startOf', () => {
  const start = (fields: object) =>
    startOf({ prompt: 'x', init_images: ['digest'], ...fields } as unknown as SdapiImg2ImgRequest)

  it.each([
    [{}, {}],
    [{ denoising_strength: 0.6 }, { strength: 0.6 }],
    [{ resize_mode: 0 }, { resize_mode: 'default' }],
    [{ resize_mode: 1 }, { resize_mode: 'crop' }],
    [{ resize_mode: 2 }, { resize_mode: 'fill' }],
    [
      { mask: 'm', resize_mode: 1 },
      { mask_image: 'm', resize_mode: 'crop' }
    ],
    [{ mask: 'm', inpainting_mask_invert: 0 }, { mask_image: 'm' }],
    [
      { mask: 'm', inpainting_mask_invert: 1 },
      { mask_image: 'm', mask_from: 'black' }
    ],
    [
      { mask: 'm', inpainting_mask_invert: true },
      { mask_image: 'm', mask_from: 'black' }
    ],
    [
      { mask: 'm', inpaint_full_res: true, resize_mode: 1 },
      { mask_image: 'm', padding_mask_crop: 0 }
    ],
    [
      { mask: 'm', inpaint_full_res: 1, inpaint_full_res_padding: 32 },
      { mask_image: 'm', padding_mask_crop: 32 }
    ],
    [{ mask: 'm', inpaint_full_res: false, inpaint_full_res_padding: 32 }, { mask_image: 'm' }],
    // They are about masks, so without one they decide nothing.
    [{ inpainting_mask_invert: 1, inpaint_full_res: true, mask_blur: 4, inpainting_fill: 0, mask: null }, {}]
  ])('reads %o as %o', (fields, expected) => {
    expect(start(fields)).toEqual({ image: 'digest', ...expected })
  })

  it('takes fields about masks only with their neutral values if there is a mask', () => {
    for (const [field, { neutral, unable }] of Object.entries(WITH_MASK)) {
      expect(start({ mask: 'm', [field]: neutral[0] })).toEqual({ image: 'digest', mask_image: 'm' })
      const other = neutral[0] === true ? false : 4
      expect(refusal(() => start({ mask: 'm', [field]: other }))).toMatchObject({
        field,
        message: `${field} must be ${neutral[0]}: ${unable}`
      })
    }
  })

  it('refuses the resizing of latents', () => {
    expect(refusal(() => start({ resize_mode: 3 }))).toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      field: 'resize_mode'
    })
  })
})

describe('secondPassOf', () => {
  const sizes: [number, number][] = [
    [64, 64],
    [64, 96],
    [96, 144],
    [128, 128],
    [128, 192]
  ]
  const offer = { sizes, compiling: [[256, 256]] as [number, number][], defaults: { width: 64, height: 96 } as never }
  const second = (fields: object) =>
    secondPassOf({ prompt: 'x', enable_hr: true, ...fields } as SdapiTxt2ImgRequest, offer)

  it.each<[object, object]>([
    [{}, { width: 128, height: 192 }],
    [{ hr_scale: 1.5 }, { width: 96, height: 144 }],
    [
      { width: 64, height: 64, hr_scale: null },
      { width: 128, height: 128 }
    ],
    [{ hr_resize_x: 96 }, { width: 96, height: 144 }],
    [
      { hr_resize_y: 144, hr_resize_x: 0, hr_scale: 4 },
      { width: 96, height: 144 }
    ],
    [
      { hr_resize_x: 128, hr_resize_y: 192 },
      { width: 128, height: 192 }
    ],
    [
      { hr_second_pass_steps: 7, denoising_strength: 0.4 },
      { width: 128, height: 192, strength: 0.4, num_inference_steps: 7 }
    ],
    [
      { hr_second_pass_steps: 0, denoising_strength: null },
      { width: 128, height: 192 }
    ],
    ...(
      [
        ['Latent', 'latent'],
        ['Latent (antialiased)', 'latent-antialiased'],
        ['Latent (bicubic)', 'latent-bicubic'],
        ['Latent (bicubic antialiased)', 'latent-bicubic-antialiased'],
        ['Latent (nearest)', 'latent-nearest'],
        ['latent (Nearest-exact)', 'latent-nearest-exact']
      ] as const
    ).map(([hr_upscaler, upscaler]): [object, object] => [{ hr_upscaler }, { width: 128, height: 192, upscaler }]),
    ...['Bicubic', 'Lanczos', 'None', 'lanczos', '', null].map((hr_upscaler): [object, object] => [
      { hr_upscaler },
      { width: 128, height: 192 }
    ])
  ])('reads %o as %o', (fields, hires) => {
    expect(second(fields)).toEqual({ hires })
  })

  it('is none unless enable_hr is true, whatever the other fields are', () => {
    for (const enable_hr of [false, null, undefined])
      expect(second({ enable_hr, hr_upscaler: 'Latent', hr_scale: 9, hr_prompt: 'y' })).toEqual({})
  })

  it('refuses upscalers that are not here by their names', () => {
    for (const hr_upscaler of ['Latent (lanczos)', 'Nearest', '4x-UltraSharp', 'R-ESRGAN 4x+'])
      expect(refusal(() => second({ hr_upscaler }))).toMatchObject({
        code: 'UNSUPPORTED_FEATURE',
        field: 'hr_upscaler',
        message: expect.stringContaining(`not "${hr_upscaler}"`)
      })
  })

  it.each([
    [{ hr_scale: 3 }, 'UNSUPPORTED_SIZE', 'hr_scale', '192x288'],
    [{ hr_resize_x: 100 }, 'UNSUPPORTED_SIZE', 'hr_resize_x', '100x150'],
    [{ hr_resize_y: 100 }, 'UNSUPPORTED_SIZE', 'hr_resize_y', '66x100'],
    [{ hr_resize_x: 128, hr_resize_y: 128 }, 'UNSUPPORTED_FEATURE', 'hr_resize_x', 'aspect ratio of 64x96'],
    [{ width: 64, height: 64, hr_scale: 4 }, 'NOT_READY', 'hr_scale', '256x256 is still being compiled']
  ])('refuses %o', (fields, code, field, message) => {
    expect(refusal(() => second(fields))).toMatchObject({ code, field, message: expect.stringContaining(message) })
  })

  it('takes fields of a second pass that is unlike the first only with their neutral values', () => {
    for (const [field, { neutral, unable }] of Object.entries(WITH_HIRES)) {
      for (const each of [...neutral, null]) expect(second({ [field]: each })).toEqual(second({}))
      expect(refusal(() => second({ [field]: typeof neutral[0] === 'number' ? 4 : 'other' }))).toMatchObject({
        code: 'UNSUPPORTED_FEATURE',
        field,
        message: expect.stringContaining(unable)
      })
    }
  })
})

describe('readSettings', () => {
  it('reads the model and the format of the files', () => {
    expect(readSettings({ sd_model_checkpoint: 'turbo', samples_format: 'jpg', jpeg_quality: 80 }, '')).toEqual({
      model: 'turbo',
      output_format: 'jpeg',
      quality: 80
    })
    expect(readSettings({ sd_model_checkpoint: '', sd_vae: 'Automatic', forge_additional_modules: [] }, '')).toEqual({})
  })

  it('refuses what Easel does not have', () => {
    expect(refusal(() => readSettings({ sd_vae: 'my.safetensors' }, 'override_settings.'))).toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      field: 'override_settings.sd_vae',
      message: 'override_settings.sd_vae must be Automatic: this server has no other'
    })
    expect(refusal(() => readSettings({ eta_noise_seed_delta: 31_337 }, '')).message).toMatch(/^eta_noise_seed_delta /)
  })
})

describe('imagesAnswer', () => {
  const recipe: Recipe = { ...someRecipe, prompt: '', negative_prompt: '', seed: 0 }
  const answerTo = (request: object, recipes: readonly Recipe[], withPrompts = true) => {
    const images = recipes.map((each, index) => ({
      index,
      seed: each.seed,
      format: 'png' as const,
      width: 64,
      height: 32,
      bytes: Buffer.from(`file ${index}`),
      recipe: each
    }))
    const pieces = imagesAnswer(
      { prompt: recipe.prompt, ...request } as SdapiImagesRequest,
      { images, timings: {} as never },
      { kind: txt2img, batchSize: 1, withPrompts, now: new Date(Date.UTC(2026, 10, 24, 12, 5, 9)) }
    )
    const { info, ...rest } = JSON.parse(Buffer.concat([...slicesOf(pieces)]).toString())
    return { ...rest, info: JSON.parse(info) }
  }

  it('has the files, the fields and the texts of any prompt', () => {
    const prompts = fc.string({ unit: 'binary', maxLength: 40 })
    fc.assert(
      fc.property(prompts, prompts, fc.array(fc.nat(), { minLength: 1, maxLength: 3 }), (prompt, negative, seeds) => {
        const recipes = seeds.map((seed) => ({ ...recipe, prompt, negative_prompt: negative, seed }))
        const { images, parameters, info } = answerTo({ prompt, steps: 20, auth: 'secret', other: '' }, recipes)
        expect(images).toEqual(seeds.map((_, index) => Buffer.from(`file ${index}`).toString('base64')))
        expect(parameters).toEqual({ prompt, steps: 20 })
        expect(info).toMatchObject({
          prompt,
          all_prompts: seeds.map(() => prompt),
          negative_prompt: negative,
          all_negative_prompts: seeds.map(() => negative),
          seed: seeds[0],
          all_seeds: seeds
        })
        const texts = negative === '' ? prompt : `${prompt}\nNegative prompt: ${negative}`
        expect(info.infotexts).toEqual(
          seeds.map(
            (seed) =>
              `${texts}\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: ${seed}, Size: 64x32, Model hash: 0123456789, Model: m, Version: easel 1`
          )
        )
      })
    )
  })

  it("says what the web UI's clients read", () => {
    expect(answerTo({ batch_size: 1 }, [recipe]).info).toMatchObject({
      width: 64,
      height: 32,
      sampler_name: 'DPM++ 2M',
      cfg_scale: 7,
      steps: 20,
      batch_size: 1,
      sd_model_name: 'm',
      sd_model_hash: '0123456789',
      index_of_first_image: 0,
      job_timestamp: '20261124120509',
      clip_skip: 2,
      version: 'easel 1'
    })
  })

  it('has no prompts where the files have none', () => {
    const hidden = { ...recipe, prompt: 'hushhush', negative_prompt: 'hushhush' }
    const answer = answerTo({ prompt: 'hushhush', negative_prompt: 'hushhush', steps: 4 }, [hidden], false)
    expect(JSON.stringify(answer)).not.toContain('hushhush')
    expect(answer.parameters).toEqual({ steps: 4 })
    expect(answer.info.infotexts[0]).toMatch(/^\nSteps: 20/)
  })
})
