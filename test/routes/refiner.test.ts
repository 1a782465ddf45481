import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import type { Recipe } from '../../src/image/recipe.js'
import { recipePicture } from '../support/recipe-picture.js'
import { blackPng } from '../support/pictures.js'
import { generate, type RunningServer, shareServer, startReadyServer } from '../support/server.js'

const SIZE = { width: 32, height: 48 }
const body = (more: object = {}) => ({ prompt: 'a fox', num_inference_steps: 5, seed: 3, ...SIZE, ...more })

interface Made {
  recipe: Recipe
  pixels: Buffer
}

async function made(response: Response): Promise<Made> {
  expect(response.status, await response.clone().text()).toBe(200)
  const recipe = JSON.parse(response.headers.get('easel-recipe')!) as Recipe
  const file = Buffer.from(await response.arrayBuffer())
  return { recipe, pixels: await sharp(file).removeAlpha().raw().toBuffer() }
}

async function refusal(response: Response) {
  const { code, field, message } = (await response.json()) as { code: string; field?: string; message: string }
  return { status: response.status, code, field, message }
}

const post = (server: RunningServer, path: string, fields: object) =>
  fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(fields)
  })

describe('a model with a refiner', () => {
  let server: RunningServer
  shareServer((ready) => (server = ready), { REFINER: '/models/sd_xl_refiner_1.0.safetensors' })

  it('says which one it has', async () => {
    const health = (await (await fetch(`${server.url}/health`)).json()) as any
    expect(health.model.refiner).toBe('sd_xl_refiner_1.0')
    expect(health.features).toContain('refiner')
  })

  it('makes images that the refiner finishes, and their recipes make them again', async () => {
    const first = await made(await generate(server, body({ denoising_end: 0.8, aesthetic_score: 7 })))
    expect(first.recipe).toMatchObject({ denoising_end: 0.8, aesthetic_score: 7 })
    const { recipe } = first
    expect(first.pixels.equals(recipePicture(recipe))).toBe(true)
    const { model: _, model_digest: __, version: ___, ...request } = recipe
    expect((await made(await generate(server, request))).pixels.equals(first.pixels)).toBe(true)
    const plain = await made(await generate(server, body()))
    expect(plain.recipe).not.toHaveProperty('denoising_end')
    expect(plain.pixels.equals(first.pixels)).toBe(false)
  })

  it('counts the steps of both models, with previews', async () => {
    const response = await generate(server, body({ denoising_end: 0.6, preview_interval: 2, scheduler: 'heun' }), {
      headers: { accept: 'text/event-stream' }
    })
    const text = await response.text()
    const steps = [...text.matchAll(/"step":(\d+),"of":5/g)].map(([, step]) => Number(step))
    expect(Math.max(...steps)).toBe(5)
    expect(steps.every((step, at) => at === 0 || step >= steps[at - 1]!)).toBe(true)
    expect(text).toContain('event: preview')
    expect(text).toContain('event: done')
  })

  it('refuses what the refiner could not show, and shares that leave a model no step', async () => {
    const picture = blackPng(SIZE).toString('base64')
    const image = { image: picture, strength: 0.5 }
    await made(await generate(server, body({ denoising_end: 0.8, ...image })))
    expect(await refusal(await generate(server, body({ denoising_end: 0.8, ...image, mask_image: picture })))).toEqual({
      status: 400,
      code: 'INVALID_REQUEST',
      field: 'mask_image',
      message: 'mask_image must be left out with denoising_end: the refiner would repaint what the mask keeps'
    })
    const hires = { width: 64, height: 64 }
    expect(await refusal(await generate(server, body({ denoising_end: 0.8, hires })))).toMatchObject({ field: 'hires' })
    expect(await refusal(await generate(server, body({ denoising_end: 0.8, num_inference_steps: 1 })))).toMatchObject({
      status: 400,
      code: 'INVALID_REQUEST',
      message: 'denoising_end needs 2 steps or more: one for each model'
    })
    for (const denoising_end of [0, 1, 1.5, -1])
      expect(await refusal(await generate(server, body({ denoising_end })))).toMatchObject({ status: 400 })
  })

  it("has it in the other APIs too, under their own clients' names", async () => {
    const openai = await post(server, '/v1/images/generations', {
      prompt: 'a fox',
      size: '32x48',
      seed: 3,
      num_inference_steps: 5,
      denoising_end: 0.8
    })
    const expected = await made(await generate(server, body({ denoising_end: 0.8 })))
    const pixels = async (base64: string) => sharp(Buffer.from(base64, 'base64')).removeAlpha().raw().toBuffer()
    const { data } = (await openai.json()) as { data: [{ b64_json: string }] }
    expect((await pixels(data[0].b64_json)).equals(expected.pixels)).toBe(true)

    const fields = { prompt: 'a fox', seed: 3, steps: 5, sampler_name: 'Euler', ...SIZE }
    const painted = async (more: object) => {
      const response = await post(server, '/sdapi/v1/txt2img', { ...fields, ...more })
      if (response.status !== 200) return (await response.json()) as any
      const { images } = (await response.json()) as { images: [string] }
      return pixels(images[0])
    }
    const a1111 = await made(
      await generate(server, body({ denoising_end: 0.8, prompt_syntax: 'a1111', scheduler: 'euler' }))
    )
    const name = 'sd_xl_refiner_1.0.safetensors [7440042bbd]'
    expect((await painted({ refiner_checkpoint: name, refiner_switch_at: 0.8 })).equals(a1111.pixels)).toBe(true)
    expect((await painted({ refiner_checkpoint: 'SD_XL_refiner_1.0' })).equals(a1111.pixels)).toBe(true)
    const plain = await painted({})
    expect((await painted({ refiner_checkpoint: 'None', refiner_switch_at: 0.8 })).equals(plain)).toBe(true)
    expect((await painted({ refiner_checkpoint: name, refiner_switch_at: 1 })).equals(plain)).toBe(true)
    expect(await painted({ refiner_checkpoint: 'other' })).toMatchObject({
      errors: expect.stringContaining('refiner_checkpoint must be sd_xl_refiner_1.0')
    })
    expect(await painted({ refiner_checkpoint: name, refiner_switch_at: 0 })).toMatchObject({
      errors: expect.stringContaining('refiner_switch_at must be more than 0')
    })
  })
})

it('a model without a refiner says so', async () => {
  const server = await startReadyServer()
  expect(await refusal(await generate(server, body({ denoising_end: 0.8 })))).toEqual({
    status: 400,
    code: 'UNSUPPORTED_FEATURE',
    field: 'denoising_end',
    message: 'denoising_end must be left out: this model has no refiner; the operator sets REFINER'
  })
  const a1111 = await post(server, '/sdapi/v1/txt2img', { prompt: 'x', ...SIZE, refiner_checkpoint: 'sd_xl_refiner' })
  expect(await a1111.json()).toMatchObject({ errors: expect.stringContaining('this model has no refiner') })
})
