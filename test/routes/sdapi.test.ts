import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import { LATENT_UPSCALERS, UPSCALER_NAMES } from '../../src/upscalers.js'
import { pngChunk, pngWith } from '../support/image-files.js'
import { drawn } from '../support/pictures.js'
import { generate, idle, type RunningServer, shareServer, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'

let server: RunningServer

shareServer((ready) => (server = ready), {
  WORKER_ARGS: '--sizes 64x64,512x512,1024x1024 --fake-step-ms 1'
})

interface Answer {
  images: string[]
  parameters: Record<string, unknown>
  info: string
}

const at = (path: string, of = server) => `${of.url}/sdapi/v1${path}`
const get = async (path: string, of = server) => (await fetch(at(path, of))).json() as Promise<any>

function post(
  path: string,
  body: unknown,
  { headers = {}, of = server }: { headers?: object; of?: RunningServer } = {}
) {
  return fetch(at(path, of), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body)
  })
}

async function made(body: object, more: Parameters<typeof post>[2] = {}): Promise<Answer> {
  const response = await post('/txt2img', body, more)
  expect(response.status, await response.clone().text()).toBe(200)
  return (await response.json()) as Answer
}

/** The files of POST /generate, in base64. */
async function ours(body: object, of = server): Promise<string[]> {
  const response = await generate(of, body, { headers: { accept: 'application/json' } })
  expect(response.status).toBe(200)
  const { images } = (await response.json()) as { images: { data: string }[] }
  return images.map(({ data }) => data)
}

/** @see https://github.com/open-webui/open-webui/blob/02530d501461ce58ab06231d7c2ef2024a141ddf/backend/open_webui/routers/images.py */
describe('Open WebUI', () => {
  const headers = { authorization: '' }

  it('checks the address, reads the model and sets it to itself', async () => {
    const verified = await fetch(at('/options'), { headers })
    expect(verified.status).toBe(200)
    const options = (await verified.json()) as { sd_model_checkpoint: string }
    expect(options.sd_model_checkpoint).toBe('fake')
    const models = await get('/sd-models')
    expect(models.map(({ title, model_name }: any) => [title, model_name])).toEqual([['fake', 'fake']])
    expect((await post('/options', options, { headers })).status).toBe(200)
  })

  it('gets images for its requests, with and without the parameters that its operator adds', async () => {
    const data = {
      prompt: 'a (red:1.2) kite',
      batch_size: 2,
      width: 512,
      height: 512,
      steps: 50,
      negative_prompt: 'fog'
    }
    const { images, info } = await made(data, { headers })
    expect(images).toHaveLength(2)
    for (const image of images) {
      const { format, width, height } = await sharp(Buffer.from(image, 'base64')).metadata()
      expect({ format, width, height }).toEqual({ format: 'png', width: 512, height: 512 })
    }
    expect(JSON.parse(info)).toMatchObject({ steps: 50, negative_prompt: 'fog', sd_model_name: 'fake' })
    const added = { cfg_scale: 4, sampler_name: 'DPM++ 2M', scheduler: 'Karras', seed: 9 }
    expect((await made({ ...data, ...added }, { headers })).images).toEqual(
      await ours({
        prompt: data.prompt,
        negative_prompt: 'fog',
        num_images: 2,
        width: 512,
        height: 512,
        num_inference_steps: 50,
        guidance_scale: 4,
        scheduler: 'dpmpp_2m_karras',
        seed: 9,
        prompt_syntax: 'a1111'
      })
    )
  })
})

/** @see https://github.com/danny-avila/LibreChat/blob/main/api/app/clients/tools/structured/StableDiffusion.js */
describe('LibreChat', () => {
  it('gets its image, and the metadata that it reads', async () => {
    const { images, info } = await made({
      prompt: 'lighthouse, cliff, dusk, oil painting, warm light, detailed, calm sea',
      negative_prompt: 'people, boats, text, blur, fog, frame, noise',
      cfg_scale: 4.5,
      steps: 22,
      width: 1024,
      height: 1024
    })
    expect((await sharp(Buffer.from(images[0]!.split(',', 1)[0]!, 'base64')).metadata()).width).toBe(1024)
    const { height, width, seed, infotexts } = JSON.parse(info) as Record<string, any>
    expect([width, height]).toEqual([1024, 1024])
    expect(infotexts[0].split('\n').pop()).toContain(`Steps: 22, Sampler: Euler, CFG scale: 4.5`)
    expect(infotexts[0]).toContain(`Seed: ${seed}, Size: 1024x1024`)
  })
})

/**
 * @see https://github.com/SillyTavern/SillyTavern/blob/02903fdd3ad33dc642fb328e43d0a8b3724e1a38/src/endpoints/stable-diffusion.js
 */
describe('SillyTavern', () => {
  const headers = { authorization: 'Basic ' }
  const body = {
    url: 'http://localhost:8000',
    auth: '',
    prompt: 'best quality, a tavern, (lantern:1.1)',
    negative_prompt: 'lowres, bad anatomy',
    sampler_name: 'DDIM',
    scheduler: 'normal',
    steps: 20,
    cfg_scale: 7,
    width: 512,
    height: 512,
    restore_faces: false,
    enable_hr: false,
    hr_upscaler: 'Latent',
    hr_scale: 2,
    hr_additional_modules: [],
    denoising_strength: 0.7,
    hr_second_pass_steps: 0,
    override_settings: { CLIP_stop_at_last_layers: 1 },
    override_settings_restore_afterwards: true,
    clip_skip: 1,
    save_images: true,
    send_images: true,
    do_not_save_grid: false,
    do_not_save_samples: false
  }

  it('fills its lists', async () => {
    const names = async (path: string) => (await get(path)).map(({ name }: { name: string }) => name)
    expect(await names('/samplers')).toEqual(['Euler', 'Euler a', 'DDIM', 'DPM++ 2M', 'Heun'])
    expect(await names('/schedulers')).toEqual(
      expect.arrayContaining(['automatic', 'karras', 'normal', 'simple', 'sgm_uniform'])
    )
    expect(await names('/upscalers')).toEqual(['Bicubic'])
    expect(await names('/latent-upscale-modes')).toEqual(LATENT_UPSCALERS.map((each) => UPSCALER_NAMES[each]))
    expect(await get('/sd-vae')).toEqual([])
    // It also asks for what only Forge has, and takes the list above if that fails.
    expect((await fetch(at('/sd-modules'), { headers })).status).toBe(404)
    expect(await get('/options')).not.toHaveProperty('forge_preset')
  })

  it('sets the model that the server has, and waits until nothing is loading', async () => {
    const { sd_model_checkpoint } = await get('/options')
    const response = await post('/options', { sd_model_checkpoint }, { headers })
    expect([response.status, await response.text()]).toEqual([200, 'null'])
    const { progress, state } = await get('/progress')
    expect([progress, state.job_count]).toEqual([0, 0])
  })

  it('gets images for its requests with any sampler and schedule of the lists', async () => {
    const { images, parameters } = await made({ ...body, seed: 5 }, { headers })
    expect(images).toEqual(
      await ours({
        prompt: body.prompt,
        negative_prompt: body.negative_prompt,
        scheduler: 'ddim',
        num_inference_steps: 20,
        guidance_scale: 7,
        width: 512,
        height: 512,
        clip_skip: 0,
        seed: 5,
        prompt_syntax: 'a1111'
      })
    )
    expect(parameters).not.toHaveProperty('auth')
    for (const { name: sampler_name } of await get('/samplers')) {
      const { info } = await made({ ...body, width: 64, height: 64, sampler_name }, { headers })
      expect(JSON.parse(info).sampler_name).toBe(sampler_name)
    }
    for (const { name: scheduler } of await get('/schedulers'))
      await made({ ...body, width: 64, height: 64, sampler_name: 'DPM++ 2M', scheduler }, { headers })
  })

  it('is told what ADetailer and upscalers would need', async () => {
    const alwayson_scripts = { ADetailer: { args: [true, true, { ad_model: 'face_yolov8n.pt' }] } }
    const detail = async (more: object) => ((await (await post('/txt2img', { ...body, ...more })).json()) as any).detail
    expect(await detail({ alwayson_scripts })).toBe(
      'alwayson_scripts: "ADetailer" must be left out: Easel has no scripts or extensions besides controlnet'
    )
    expect(await detail({ enable_hr: true, hr_upscaler: '4x-UltraSharp' })).toMatch(
      /^hr_upscaler must be one of Bicubic, Latent, .*, not "4x-UltraSharp": Easel has no upscaling models/
    )
    expect(await detail({ override_settings: { sd_vae: 'x.pt' } })).toMatch(
      /^override_settings.sd_vae must be Automatic/
    )
  })

  it('stops its request by leaving, and interrupts without a body', async () => {
    const { cancelled } = server.service.ledger.ended
    const controller = new AbortController()
    const asked = fetch(at('/txt2img'), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ ...body, width: 64, height: 64, steps: 1000 }),
      signal: controller.signal
    })
    await until('the request is accepted', () => server.service.ledger.inFlight === 1)
    const interrupted = await fetch(at('/interrupt'), { method: 'POST', headers })
    expect([interrupted.status, await interrupted.json()]).toEqual([200, {}])
    controller.abort()
    await expect(asked).rejects.toThrow()
    await until('the request is cancelled', () => server.service.ledger.ended.cancelled === cancelled + 1)
    await idle(server)
  })
})

describe('POST /sdapi/v1/txt2img', () => {
  const small = { prompt: 'x', width: 64, height: 64, steps: 4 }

  it('makes batch_size · n_iter images with consecutive seeds', async () => {
    const { images, info } = await made({ ...small, seed: 2 ** 32 - 1, batch_size: 2, n_iter: 2 })
    expect(images).toHaveLength(4)
    expect(JSON.parse(info)).toMatchObject({ batch_size: 2, all_seeds: [2 ** 32 - 1, 0, 1, 2], seed: 2 ** 32 - 1 })
  })

  it('makes the second pass of hires, whose upscaler is in the list', async () => {
    const [{ name: hr_upscaler }] = await get('/upscalers')
    const first = { prompt: 'a fox', steps: 10, seed: 3, width: 512, height: 512 }
    const { images, info } = await made({ ...first, enable_hr: true, hr_upscaler })
    const our = { prompt: 'a fox', num_inference_steps: 10, seed: 3, width: 512, height: 512, prompt_syntax: 'a1111' }
    expect(images).toEqual(await ours({ ...our, hires: { width: 1024, height: 1024 } }))
    expect(await sharp(Buffer.from(images[0]!, 'base64')).metadata()).toMatchObject({ width: 1024, height: 1024 })
    const { infotexts, ...rest } = JSON.parse(info) as Record<string, any>
    expect(rest).toMatchObject({ width: 512, height: 512, denoising_strength: 0.7 })
    expect(infotexts[0]).toContain('Denoising strength: 0.7, Hires resize: 1024x1024, Hires steps: 10')

    const latent = await made({ ...first, enable_hr: true, hr_upscaler: 'Latent (nearest-exact)' })
    expect(latent.images).toEqual(
      await ours({ ...our, hires: { width: 1024, height: 1024, upscaler: 'latent-nearest-exact' } })
    )
    expect(JSON.parse(latent.info)['infotexts'][0]).toContain('Hires upscaler: Latent (nearest-exact)')

    const second = { hr_resize_x: 1024, denoising_strength: 0.5, hr_second_pass_steps: 6 }
    expect((await made({ ...first, enable_hr: true, ...second })).images).toEqual(
      await ours({ ...our, hires: { width: 1024, height: 1024, strength: 0.5, num_inference_steps: 6 } })
    )
  })

  it('reads prompts with weights, and refuses what they cannot mean, in its own error form', async () => {
    const weighted = { prompt: 'a (fox:1.3)', seed: 1 }
    expect((await made({ ...small, ...weighted })).images).toEqual(
      await ours({ ...weighted, width: 64, height: 64, num_inference_steps: 4, prompt_syntax: 'a1111' })
    )
    for (const [body, status, error, detail] of [
      [{ prompt: 'a [fox:cat:0.5]' }, 400, 'INVALID_REQUEST', /^prompt has \[fox:cat:0.5\], which changes/],
      [{ prompt: 'a <lora:ink:1>' }, 400, 'UNSUPPORTED_LORA', /there is no LoRA "ink"/],
      [{ prompt: 'fox '.repeat(400) }, 400, 'PROMPT_TOO_LONG', /^prompt has 400 tokens in 6 chunks/],
      [{ prompt: '' }, 400, 'INVALID_REQUEST', /prompt must NOT have fewer than 1/],
      [{ width: 640 }, 400, 'UNSUPPORTED_SIZE', /^640x64 is not offered/],
      [{ width: 640, enable_hr: true }, 400, 'UNSUPPORTED_SIZE', /^640x64 is not offered/],
      [{ enable_hr: true }, 400, 'UNSUPPORTED_SIZE', /^hr_scale 128x128 is not offered; .* 64x64, 512x512, 1024x1024$/],
      [{ enable_hr: true, hr_resize_y: 96 }, 400, 'UNSUPPORTED_SIZE', /^hr_resize_y 96x96 is not offered/],
      [
        { enable_hr: true, hr_scale: 8, denoising_strength: 0.1 },
        400,
        'INVALID_REQUEST',
        /^enable_hr strength must be at least 0.25/
      ],
      [{ steps: 1001 }, 400, 'INVALID_REQUEST', /steps must be <= 1000/],
      [{ cfg_scale: 99 }, 400, 'LIMIT_EXCEEDED', /^cfg_scale must be at most 50$/],
      [{ batch_size: 4, n_iter: 5 }, 400, 'LIMIT_EXCEEDED', /^batch_size must be at most 16$/],
      [{ sampler_name: 'LMS' }, 400, 'UNSUPPORTED_SCHEDULER', /^sampler_name must be one of Euler, /],
      [{ scheduler: 'KL Optimal' }, 400, 'UNSUPPORTED_SCHEDULER', /^scheduler must be one of Automatic, /],
      [{ clip_skip: 13 }, 400, 'LIMIT_EXCEEDED', /CLIP_stop_at_last_layers must be at most 12$/],
      [{ sampler: 'Euler' }, 400, 'INVALID_REQUEST', /^"sampler" is not a field of this request/],
      [
        { override_settings: { sd_model_checkpoint: 'gone' } },
        404,
        'MODEL_NOT_FOUND',
        /sd_model_checkpoint "gone" is not/
      ]
    ] as const) {
      const response = await post('/txt2img', { ...small, ...body })
      const said = (await response.json()) as { detail: string }
      expect([response.status, said], detail.source).toEqual([
        status,
        { error, detail: expect.stringMatching(detail), body: '', errors: `${status}: ${said.detail}` }
      ])
    }
  })

  it('answers a retry with the same Idempotency-Key from the first answer', async () => {
    const headers = { 'idempotency-key': 'a-key' }
    const first = await made(small, { headers })
    const again = await post('/txt2img', small, { headers })
    expect(again.headers.get('idempotent-replayed')).toBe('true')
    expect(((await again.json()) as Answer).images).toEqual(first.images)
    expect((await post('/txt2img', { ...small, steps: 5 }, { headers })).status).toBe(422)
  })

  it('answers in other formats', async () => {
    const { images } = await made({ ...small, override_settings: { samples_format: 'jpg', jpeg_quality: 50 } })
    expect((await sharp(Buffer.from(images[0]!, 'base64')).metadata()).format).toBe('jpeg')
  })

  it('is not confused by a field that is nested deep', async () => {
    for (const [name, status] of [
      ['comments', 200],
      ['alwayson_scripts', 400],
      ['unknown', 400]
    ] as const) {
      const deep = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`
      const response = await fetch(at('/txt2img'), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: `${JSON.stringify(small).slice(0, -1)},"${name}":${deep}}`
      })
      expect(response.status, name).toBe(status)
      await response.arrayBuffer()
    }
  })

  it('answers 404 for what it does not have', async () => {
    for (const path of ['/skip', '/extra-single-image']) {
      const response = await post(path, {})
      expect([response.status, await response.json()]).toMatchObject([404, { error: 'NOT_FOUND' }])
    }
  })

  it('answers without prompts under EMBED_RECIPE=false', async () => {
    const own = await startReadyServer({ EMBED_RECIPE: 'false' })
    const text = JSON.stringify(await made({ ...small, prompt: 'hushhush', negative_prompt: 'hushhush' }, { of: own }))
    expect(text).not.toContain('hushhush')
  })
})

describe('POST /sdapi/v1/img2img', () => {
  const size = { width: 64, height: 64 }
  const body = { prompt: 'a fox', steps: 10, seed: 3, ...size }
  const same = { prompt: 'a fox', num_inference_steps: 10, seed: 3, prompt_syntax: 'a1111', ...size }
  let picture: string
  let mask: string
  beforeAll(async () => {
    picture = (await drawn({ width: 96, height: 64 }).png().toBuffer()).toString('base64')
    mask = (
      await drawn({ width: 96, height: 64 }, 1, (x) => (x < 20 ? 255 : 0))
        .png()
        .toBuffer()
    ).toString('base64')
  })
  const ask = (fields: object, more: Parameters<typeof post>[2] = {}) =>
    post('/img2img', { init_images: [picture], ...body, ...fields }, more)

  async function painted(fields: object): Promise<Answer> {
    const response = await ask(fields)
    expect(response.status, await response.clone().text()).toBe(200)
    return (await response.json()) as Answer
  }

  it('starts from the picture as POST /generate does', async () => {
    const { images, info, parameters } = await painted({ denoising_strength: 0.75, resize_mode: 1 })
    expect(images).toEqual(await ours({ ...same, image: picture, strength: 0.75, resize_mode: 'crop' }))
    expect(JSON.parse(info)).toMatchObject({ denoising_strength: 0.75, seed: 3 })
    expect(JSON.parse(info).infotexts[0]).toContain('Denoising strength: 0.75')
    expect(parameters).toEqual({ ...body, denoising_strength: 0.75, resize_mode: 1 })
    const other = await painted({
      init_images: [`data:image/png;base64,${picture}`],
      denoising_strength: 0.75,
      resize_mode: 1
    })
    expect(other.images).toEqual(images)
    expect((await painted({ denoising_strength: 0.5, resize_mode: 1 })).images).not.toEqual(images)
    const two = await painted({ denoising_strength: 0.75, resize_mode: 1, batch_size: 2 })
    expect(two.images).toHaveLength(2)
    expect(two.images[0]).toBe(images[0])
  })

  it('repaints what is white in the mask, or black, and only the part around it if asked to', async () => {
    const { images } = await painted({ mask, mask_blur: 0, inpainting_fill: 1 })
    expect(images).toEqual(await ours({ ...same, image: picture, mask_image: mask }))
    const inverted = await painted({ mask, inpainting_mask_invert: 1 })
    expect(inverted.images).toEqual(await ours({ ...same, image: picture, mask_image: mask, mask_from: 'black' }))
    expect(inverted.images).not.toEqual(images)
    const opposite = drawn({ width: 96, height: 64 }, 1, (x) => (x < 20 ? 0 : 255))
    const pixelsOf = (image: string) => sharp(Buffer.from(image, 'base64')).raw().toBuffer()
    const [byHand] = (await painted({ mask: (await opposite.png().toBuffer()).toString('base64') })).images
    expect((await pixelsOf(inverted.images[0]!)).equals(await pixelsOf(byHand!))).toBe(true)
    const part = await painted({ mask, inpaint_full_res: true, inpaint_full_res_padding: 4 })
    expect(part.images).toEqual(await ours({ ...same, image: picture, mask_image: mask, padding_mask_crop: 4 }))
    expect(JSON.parse(part.info)).toMatchObject({ width: 64, height: 64 })
  })

  it('names the field that it refuses', async () => {
    for (const [fields, error, detail] of [
      [{ init_images: [] }, 'INVALID_REQUEST', /init_images must NOT have fewer than 1/],
      [{ init_images: undefined }, 'INVALID_REQUEST', /required property 'init_images'/],
      [{ init_images: [picture, picture] }, 'INVALID_REQUEST', /^init_images is given more than once/],
      [{ init_images: ['bm8gaW1hZ2U='] }, 'INVALID_PICTURE', /^init_images /],
      [{ init_images: ['https://example.com/x.png'] }, 'INVALID_REQUEST', /^init_images must hold the picture itself/],
      [{ denoising_strength: 0.05 }, 'INVALID_REQUEST', /^denoising_strength must be at least 0.1/],
      [{ resize_mode: 3 }, 'UNSUPPORTED_FEATURE', /^resize_mode must be 0, 1 or 2/],
      [{ mask, mask_blur: 4 }, 'UNSUPPORTED_FEATURE', /^mask_blur must be 0/],
      [{ mask, inpainting_fill: 0 }, 'UNSUPPORTED_FEATURE', /^inpainting_fill must be 1/],
      [{ include_init_images: true }, 'UNSUPPORTED_FEATURE', /^include_init_images must be false/],
      [{ width: 640 }, 'UNSUPPORTED_SIZE', /^640x64 is not offered/],
      [{ strength: 0.5 }, 'INVALID_REQUEST', /^"strength" is not a field/]
    ] as const) {
      const response = await ask(fields)
      expect([response.status, await response.json()], detail.source).toMatchObject([
        400,
        { error, detail: expect.stringMatching(detail) }
      ])
    }
    const form = new FormData()
    form.append('prompt', 'x')
    expect((await fetch(at('/img2img'), { method: 'POST', body: form })).status).toBe(415)
  })

  it('shows its progress and can be interrupted', async () => {
    const asked = ask({ steps: 1000, denoising_strength: 1, force_task_id: 'painting' })
    const query = '?force_task_id=painting'
    await until('it runs', async () => (await get(`/progress${query}`)).state.sampling_step > 0)
    expect((await get(`/progress${query}`)).state).toMatchObject({ job: 'painting', sampling_steps: 1000 })
    await post(`/interrupt${query}`, {})
    expect((await asked).status).toBe(499)
  })
})

describe('POST /sdapi/v1/png-info', () => {
  const info = (body: unknown) => post('/png-info', body)

  it.each(['png', 'jpg', 'webp'])('reads the parameters of a %s that txt2img made', async (samples_format) => {
    const asked = { prompt: 'a (fox:1.2), "雪"', negative_prompt: 'fog', steps: 4, sampler_name: 'DPM++ 2M', seed: 3 }
    const { images, info: made_ } = await made({ ...asked, override_settings: { samples_format } })
    const [infotext] = (JSON.parse(made_) as { infotexts: string[] }).infotexts
    for (const image of [images[0]!, `data:image/${samples_format};base64,${images[0]}`]) {
      const response = await info({ image })
      expect(response.status).toBe(200)
      const { info: text, items, parameters } = (await response.json()) as any
      expect(text).toBe(infotext)
      expect(JSON.parse(items.easel)).toMatchObject({ prompt: asked.prompt, scheduler: 'dpmpp_2m_karras', seed: 3 })
      expect(parameters).toMatchObject({
        Prompt: asked.prompt,
        'Negative prompt': 'fog',
        Steps: '4',
        Sampler: 'DPM++ 2M',
        'Schedule type': 'Karras',
        Seed: '3',
        'Size-1': '64',
        'Size-2': '64'
      })
      expect(parameters).not.toHaveProperty('Size')
    }
  })

  it("reads the web UI's own PNG, and finds nothing in another file", async () => {
    const plain = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    const text = 'a fox\nSteps: 28, Sampler: Euler a, CFG scale: 5.5, Seed: 4, Size: 832x1216, Version: v1.10.1'
    const theirs = pngWith(pngChunk('tEXt', Buffer.from(`parameters\0${text}`, 'latin1')))
    expect(await (await info({ image: theirs.toString('base64') })).json()).toEqual({
      info: text,
      items: {},
      parameters: expect.objectContaining({
        Prompt: 'a fox',
        'Negative prompt': '',
        Sampler: 'Euler a',
        'Size-2': '1216'
      })
    })
    expect(await (await info({ image: plain.toString('base64') })).json()).toEqual({
      info: '',
      items: {},
      parameters: {}
    })
  })

  it('refuses other bodies', async () => {
    const { images } = await made({ prompt: 'x', steps: 1 })
    const [image] = images
    for (const [body, detail] of [
      [{}, /must be {"image": /],
      [{ image: 'bm8gaW1hZ2U=' }, /not a PNG, JPEG or WebP/],
      [{ image: '???' }, /^body\/image is not base64/],
      [{ image: 'https://example.com/x.png' }, /^body\/image must hold the picture itself/],
      [{ image, more: 1 }, /must be {"image": /],
      [{ list: [{ image: 'AAAA' }] }, /must be {"image": /],
      [{ image: '' }, /not a PNG, JPEG or WebP/]
    ] as const) {
      const response = await info(body)
      expect([response.status, await response.json()], detail.source).toMatchObject([
        400,
        { error: 'INVALID_REQUEST', detail: expect.stringMatching(detail) }
      ])
    }
    const raw = (body: string, type = 'application/json') =>
      fetch(at('/png-info'), { method: 'POST', headers: { 'content-type': type }, body })
    for (const body of ['{', `{"image":"${image}`, `{"image":"${image}","image":"${image}"}`])
      expect((await raw(body)).status).toBe(400)
    expect((await raw('x', 'image/png')).status).toBe(415)
    expect((await fetch(at('/png-info'), { method: 'POST' })).status).toBe(415)
  })
})

describe('POST /sdapi/v1/options', () => {
  it('refuses what would change the images of others', async () => {
    const before = await get('/options')
    for (const [options, detail] of [
      [{ sd_model_checkpoint: 'other' }, /^sd_model_checkpoint must be fake: clients change no settings/],
      [{ CLIP_stop_at_last_layers: 3 }, /^CLIP_stop_at_last_layers must be 2: /],
      [{ samples_format: 'webp' }, /^samples_format must be png: /],
      [{ sd_vae: 'my.safetensors' }, /^sd_vae must be Automatic: /],
      [{ eta_noise_seed_delta: 31_337 }, /^eta_noise_seed_delta is not a setting of this server/]
    ] as const) {
      const response = await post('/options', options)
      expect([response.status, await response.json()]).toMatchObject([
        400,
        { error: 'UNSUPPORTED_FEATURE', detail: expect.stringMatching(detail) }
      ])
    }
    expect((await post('/options', { CLIP_stop_at_last_layers: 1, sd_vae: '', unknown: null })).status).toBe(200)
    expect(await get('/options')).toEqual(before)
  })

  it('is 503 until a model is known', async () => {
    const own = await startServer({ WORKER_ARGS: '--fake-warm-ms 600000' })
    for (const response of [await fetch(at('/options', own)), await post('/options', {}, { of: own })]) {
      expect([response.status, await response.json()]).toMatchObject([503, { error: 'NOT_READY' }])
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
    }
    expect((await post('/txt2img', { prompt: 'x', sampler_name: 'Euler' }, { of: own })).status).toBe(503)
    for (const path of ['/samplers', '/sd-models', '/loras']) expect(await get(path, own)).toEqual([])
  })
})

describe('with several models', () => {
  const folder = loadOptions([], {}).models[0]!.path
  let own: RunningServer
  shareServer((ready) => (own = ready), { MODELS: `base=${folder},org/turbo=${folder}` })
  beforeAll(() => Promise.all(own.pool.models.map(({ firstReady }) => firstReady)))

  it('lets each request choose its own, and no request choose for others', async () => {
    expect((await get('/sd-models', own)).map(({ title }: { title: string }) => title)).toEqual(['base', 'org/turbo'])
    const modelOf = async (override_settings?: object) =>
      JSON.parse((await made({ prompt: 'x', override_settings }, { of: own })).info).sd_model_name
    expect(await modelOf({ sd_model_checkpoint: 'org/turbo' })).toBe('org/turbo')
    expect(await modelOf()).toBe('base')
    expect((await post('/options', { sd_model_checkpoint: 'org/turbo' }, { of: own })).status).toBe(400)
    expect((await post('/options', { sd_model_checkpoint: 'base' }, { of: own })).status).toBe(200)
    expect((await get('/options', own)).sd_model_checkpoint).toBe('base')
    expect(await modelOf()).toBe('base')
  })
})

describe('progress and interrupt', () => {
  const slow = { prompt: 'x', steps: 1000, width: 64, height: 64 }
  const KEYS = [
    { name: 'team-a', key: 'team-a-secret-key-1', requests_per_minute: 3 },
    { name: 'team-b', key: 'team-b-secret-key-2' }
  ]
  const [a, b] = KEYS.map(({ name, key }) => ({
    authorization: `Basic ${Buffer.from(`${name}:${key}`).toString('base64')}`
  })) as [{ authorization: string }, { authorization: string }]

  async function withKeys(): Promise<RunningServer> {
    const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    await writeFile(join(folder, 'keys.json'), JSON.stringify({ keys: KEYS }))
    return startReadyServer({ ACCESS_KEYS: join(folder, 'keys.json'), WORKER_ARGS: '--fake-step-ms 10' })
  }

  it('find a request by its force_task_id', async () => {
    const own = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const asked = post('/txt2img', { ...slow, batch_size: 2, force_task_id: 'task(1)' }, { of: own })
    const progress = (query = '') => get(`/progress?force_task_id=task(1)${query}`, own)
    await until('it has a preview', async () => (await progress()).current_image !== null)
    const { progress: share, eta_relative, state, current_image } = await progress()
    expect(share).toBeGreaterThanOrEqual(0.01)
    expect(share).toBeLessThan(1)
    expect(eta_relative).toBeGreaterThan(0)
    expect(state).toMatchObject({ job: 'task(1)', job_count: 2, job_no: 0, sampling_steps: 1000 })
    expect(state.sampling_step).toBeGreaterThanOrEqual(10)
    expect(state.job_timestamp).toMatch(/^\d{14}$/)
    expect((await sharp(Buffer.from(current_image, 'base64')).metadata()).format).toBe('jpeg')
    expect((await progress('&skip_current_image=true')).current_image).toBeNull()
    for (const path of ['/progress', '/progress?force_task_id=other'])
      expect((await get(path, own)).state.job_count).toBe(0)
    // Without access keys, an interrupt without a name must stop nobody's request.
    expect((await post('/interrupt', {}, { of: own })).status).toBe(200)
    await until('it goes on', async () => (await progress()).state.sampling_step > state.sampling_step)
    expect((await fetch(at('/interrupt?force_task_id=task(1)', own), { method: 'POST' })).status).toBe(200)
    const ended = await asked
    expect([ended.status, await ended.json()]).toMatchObject([499, { error: 'CANCELLED' }])
    expect((await progress()).state.job_count).toBe(0)
  })

  it("find the requests of the caller's key, and no others", async () => {
    const own = await withKeys()
    const jobs = async (headers: { authorization: string }) =>
      ((await (await fetch(at('/progress', own), { headers })).json()) as any).state.job_count
    const mine = [1, 2].map(() => post('/txt2img', slow, { headers: a, of: own }))
    const theirs = post('/txt2img', { ...slow, force_task_id: 't' }, { headers: b, of: own })
    const aside = generate(
      own,
      { prompt: 'x', num_inference_steps: 1000 },
      { headers: { 'x-request-id': 'aside', authorization: `Bearer ${KEYS[1]!.key}` } }
    )
    await until('all are accepted', () => own.service.ledger.accepted === 4)
    expect([await jobs(a), await jobs(b)]).toEqual([1, 1])
    const interrupt = (headers: object, query = '') => post(`/interrupt${query}`, {}, { headers, of: own })
    expect((await interrupt(a, '?force_task_id=t')).status).toBe(200)
    expect((await interrupt(a)).status).toBe(200)
    for (const response of mine) expect((await response).status).toBe(499)
    expect(own.service.ledger.inFlight).toBe(2)
    expect([await jobs(a), await jobs(b)]).toEqual([0, 1])
    expect((await interrupt(b)).status).toBe(200)
    expect((await theirs).status).toBe(499)
    // It came through another API.
    expect(own.service.ledger.inFlight).toBe(1)
    await fetch(`${own.url}/requests/aside`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${KEYS[1]!.key}` }
    })
    expect((await aside).status).toBe(499)
    // A third request is within the rate of the key, a fourth is not; lists and progress do not count.
    expect((await post('/txt2img', { ...slow, steps: 1 }, { headers: a, of: own })).status).toBe(200)
    const fourth = await post('/txt2img', slow, { headers: a, of: own })
    expect([fourth.status, await fourth.json()]).toMatchObject([429, { error: 'RATE_LIMITED' }])
    expect(Number(fourth.headers.get('retry-after'))).toBeGreaterThan(0)
  })

  it('need a key, as the password of Basic authentication or as a bearer key', async () => {
    const own = await withKeys()
    const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`
    const { key } = KEYS[0]!
    for (const authorization of [undefined, '', 'Basic ', basic(key), basic(`x:${key}x`), 'Basic !', `Basic ${key}`]) {
      for (const path of ['/options', '/samplers', '/progress', '/nothing']) {
        const response = await fetch(at(path, own), { headers: authorization === undefined ? {} : { authorization } })
        expect([response.status, await response.json()]).toMatchObject([401, { error: 'UNAUTHORIZED' }])
        expect(response.headers.get('www-authenticate')).toBe('Bearer, Basic realm="easel"')
      }
    }
    for (const authorization of [basic(`anyone:${key}`), basic(`:${key}`), `Bearer ${key}`]) {
      expect((await fetch(at('/options', own), { headers: { authorization } })).status).toBe(200)
      expect((await fetch(at('/nothing', own), { headers: { authorization } })).status).toBe(404)
    }
    expect(JSON.stringify(own.logs)).not.toContain(key)
  })
})
