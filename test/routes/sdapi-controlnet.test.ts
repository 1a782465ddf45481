import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { controlsOf } from '../../src/routes/sdapi/controlnet.js'
import type { SdapiControlUnit, SdapiScripts } from '../../src/schemas/sdapi-controlnet.js'
import { drawn } from '../support/pictures.js'
import { generate, openServer, type RunningServer } from '../support/server.js'

const unit = (more: object = {}) => ({ model: 'canny [0123abcd]', image: 'digest', ...more }) as SdapiControlUnit
const scripts = (...args: (object | null)[]) => ({ controlnet: { args } }) as unknown as SdapiScripts
const refusal = (given: SdapiScripts, own?: string) => {
  try {
    controlsOf(given, own)
  } catch (error) {
    expect(error).toBeInstanceOf(EaselError)
    const { code, field, message } = error as EaselError
    expect(field).toBe('alwayson_scripts')
    return `${code} ${message}`
  }
  return undefined
}

describe('controlsOf', () => {
  it('reads the units of the ControlNet extension, with its defaults', () => {
    expect(controlsOf(scripts(unit()), undefined)).toEqual({
      controls: [{ name: 'canny', image: 'digest', preprocessor: 'none', resize_mode: 'crop' }]
    })
    const all = unit({
      module: 'canny',
      weight: 0.5,
      guidance_start: 0.1,
      guidance_end: 0.9,
      threshold_a: 50,
      threshold_b: -1,
      resize_mode: 'Resize and Fill',
      control_mode: 'Balanced',
      pixel_perfect: true,
      processor_res: 512,
      low_vram: false
    })
    expect(controlsOf({ ControlNet: { args: [all] } }, undefined)).toEqual({
      controls: [
        {
          name: 'canny',
          image: 'digest',
          preprocessor: 'canny',
          low_threshold: 50,
          high_threshold: 200,
          resize_mode: 'fill',
          controlnet_conditioning_scale: 0.5,
          control_guidance_start: 0.1,
          control_guidance_end: 0.9
        }
      ]
    })
  })

  it('reads older names, and pictures in objects', () => {
    const { image: _, ...older } = unit({ input_image: { image: 'old', mask: null }, guidance: 0.4, lowvram: true })
    expect(controlsOf(scripts(older), 'own')).toMatchObject({ controls: [{ image: 'old', control_guidance_end: 0.4 }] })
  })

  it('follows the picture of img2img in a unit without one', () => {
    expect(controlsOf(scripts(unit({ image: null })), 'own')).toMatchObject({ controls: [{ image: 'own' }] })
  })

  it('leaves out units that are off, and gives those of IP-Adapters by themselves', () => {
    const adapter = unit({ model: 'plus', module: 'ip-adapter_clip_sdxl_plus_vith', weight: 0.7 })
    expect(controlsOf(scripts(null, unit({ enabled: false, model: 'None' }), adapter), undefined)).toEqual({
      ip_adapters: [{ name: 'plus', image: 'digest', scale: 0.7 }]
    })
    expect(controlsOf({ controlnet: {} }, undefined)).toEqual({})
    expect(controlsOf({ Other: { args: [] } } as SdapiScripts, undefined)).toEqual({})
    expect(controlsOf(null, undefined)).toEqual({})
  })

  it.each<[string, object, RegExp]>([
    [
      'an unknown preprocessor',
      { module: 'depth_midas' },
      /UNSUPPORTED_FEATURE .*args\[0\]\.module must be none, canny, lineart_standard or ip-adapter-auto, not "depth_midas"/
    ],
    ['a preprocessor named like a property of objects', { module: 'constructor' }, /module must be/],
    ['a unit without a model', { model: 'None' }, /args\[0\]\.model must be a name/],
    ['a unit without a picture', { image: '' }, /args\[0\]\.image must be the picture/],
    ['a mask', { mask: 'abc' }, /args\[0\]\.mask must be empty: Easel masks no control pictures/],
    ['a mask in an object', { image: { image: 'digest', mask: 'abc' } }, /image\.mask must be left out/],
    ['another control mode', { control_mode: 2 }, /control_mode must be Balanced: /],
    ['a unit for one pass', { hr_option: 'Low res only' }, /hr_option must be Both: /],
    ['an unknown way to resize', { resize_mode: 'Tile' }, /resize_mode must be 0, 1 or 2/],
    [
      'an IP-Adapter for a part of the steps',
      { module: 'ip-adapter-auto', guidance_end: 0.5 },
      /guidance_start and guidance_end must be 0 and 1/
    ],
    ['a field that it does not have', { sharpness: 3 }, /args\[0\]: "sharpness" is not a field of a unit/]
  ])('refuses %s by name', (_, more, message) => {
    expect(refusal(scripts(unit(more)))).toMatch(message)
  })

  it('names the unit that is wrong, counting those that are off', () => {
    expect(refusal(scripts(null, unit(), unit({ module: 'hed' })))).toMatch(/args\[2\]\.module/)
  })

  it('refuses other scripts by name', () => {
    expect(refusal({ 'Tiled VAE': { args: [true] } } as SdapiScripts)).toMatch(/"Tiled VAE" must be left out/)
  })
})

describe('/sdapi/v1 with units', () => {
  let server: RunningServer
  let picture: string
  beforeAll(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-sdapi-'))
    await mkdir(join(folder, 'nets'))
    await writeFile(join(folder, 'nets/canny.safetensors'), 'edges')
    const opened = await openServer({ WORKER_ARGS: `--controlnets ${folder}/nets --ip-adapters ${folder}/nets` })
    server = opened.server
    await server.pool.firstReady
    picture = (await drawn({ width: 90, height: 50 }).png().toBuffer()).toString('base64')
    return async () => {
      await opened.stop()
      await rm(folder, { recursive: true })
    }
  })

  const ask = (route: string, body: object) =>
    fetch(`${server.url}/sdapi/v1/${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'a fox', seed: 5, steps: 8, ...body })
    })
  const fileOf = async (response: Response) => {
    expect(response.status, await response.clone().text()).toBe(200)
    const { images } = (await response.json()) as { images: string[] }
    return Buffer.from(images[0]!, 'base64')
  }
  const generated = async (body: object) => {
    const fields = { prompt: 'a fox', seed: 5, num_inference_steps: 8, prompt_syntax: 'a1111', ...body }
    return Buffer.from(await (await generate(server, fields)).arrayBuffer())
  }

  it('makes the same file as POST /generate', async () => {
    const alwayson_scripts = {
      controlnet: {
        args: [
          { enabled: false, image: picture },
          { module: 'canny', model: 'canny', image: picture, weight: 0.5, resize_mode: 1 },
          { module: 'ip-adapter-auto', model: 'canny', input_image: `data:image/png;base64,${picture}` }
        ]
      }
    }
    const controls = [
      { name: 'canny', image: picture, preprocessor: 'canny', resize_mode: 'crop', controlnet_conditioning_scale: 0.5 }
    ]
    const expected = await generated({ controls, ip_adapters: [{ name: 'canny', image: picture }] })
    expect((await fileOf(await ask('txt2img', { alwayson_scripts }))).equals(expected)).toBe(true)
  })

  it('follows the picture of img2img', async () => {
    const alwayson_scripts = { ControlNet: { args: [{ model: 'canny', module: 'lineart_standard', resize_mode: 0 }] } }
    const controls = [{ name: 'canny', image: picture, preprocessor: 'lineart' }]
    const body = { init_images: [picture], denoising_strength: 0.5, alwayson_scripts }
    const expected = await generated({ image: picture, strength: 0.5, controls })
    expect((await fileOf(await ask('img2img', body))).equals(expected)).toBe(true)
  })

  it.each<[string, object[], RegExp]>([
    ['five units', Array.from({ length: 5 }, () => ({ enabled: false })), /args must NOT have more than 4 items/],
    ['five pictures', Array.from({ length: 5 }, () => ({ image: 'AAAA' })), /args must have at most 4 pictures/],
    ['a weight that is no number', [{ model: 'canny', weight: 'full' }], /weight must be number/],
    [
      'an unknown model',
      [{ model: 'pose', image: 'AAAA' }],
      /there is no ControlNet or T2I-Adapter "pose"; there are canny/
    ],
    ['what is no picture', [{ model: 'canny', image: 'AAAA' }], /is not a picture/]
  ])('refuses %s', async (_, args, message) => {
    const response = await ask('txt2img', { alwayson_scripts: { controlnet: { args } } })
    expect(response.status).toBe(400)
    expect(((await response.json()) as { detail: string }).detail).toMatch(message)
  })
})
