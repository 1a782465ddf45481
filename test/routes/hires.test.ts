import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import type { Recipe } from '../../src/image/recipe.js'
import type { Pixels } from '../../src/pictures/pixels.js'
import { LATENT_UPSCALERS } from '../../src/upscalers.js'
import { resized } from '../../src/pictures/transform.js'
import { recipePicture, recipePictureFromLatents } from '../support/recipe-picture.js'
import { eventsOf } from '../support/events.js'
import { generate, metric, type RunningServer, shareServer, startServer } from '../support/server.js'

const STEPS = 10
const FIRST = { width: 64, height: 64 }
const LARGE = { width: 128, height: 96 }
const body = (more: object = {}) => ({ prompt: 'a fox', num_inference_steps: STEPS, seed: 3, ...FIRST, ...more })

/** The pixels of the second pass, by the definition of the fake engine: from the first pass's, enlarged. */
async function expected(recipe: Recipe): Promise<Buffer> {
  const { hires, ...first } = recipe
  const { width, height, strength, num_inference_steps: steps = STEPS } = hires!
  const data = recipePicture(first as Recipe)
  const enlarged = await resized({ ...FIRST, channels: 3, data } as Pixels, { width, height }, 'default')
  const second = { ...first, width, height, strength, num_inference_steps: steps }
  return recipePicture(second as Recipe, '', [{ role: 'image', pixels: enlarged.data }])
}

const pixelsOf = (file: ArrayBuffer | Buffer) => sharp(file).raw().toBuffer({ resolveWithObject: true })

interface ImageData {
  index: number
  data: string
  width: number
  height: number
  recipe: Recipe
}

describe('hires', () => {
  let server: RunningServer
  shareServer((ready) => (server = ready), { WORKER_ARGS: '--sizes 64x64,128x96' })

  /** The file that a file's recipe makes. */
  async function replayed(file: Buffer): Promise<Buffer> {
    const read = await fetch(`${server.url}/recipe`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: new Uint8Array(file)
    })
    const { request } = (await read.json()) as { request: object }
    return Buffer.from(await (await generate(server, request)).arrayBuffer())
  }

  it('makes each image larger in a second pass, and its recipe makes the same file', async () => {
    for (const hires of [LARGE, { ...LARGE, strength: 0.45, num_inference_steps: 7 }]) {
      const response = await generate(server, body({ hires }))
      expect(response.status, await response.clone().text()).toBe(200)
      const file = Buffer.from(await response.arrayBuffer())
      const recipe = JSON.parse(response.headers.get('easel-recipe')!) as Recipe
      expect(recipe).toMatchObject({ ...FIRST, hires: { strength: 0.7, ...hires } })
      const { data, info } = await pixelsOf(file)
      expect(info).toMatchObject(LARGE)
      expect(data.equals(await expected(recipe))).toBe(true)

      expect((await replayed(file)).equals(file)).toBe(true)
    }
    expect(await metric(server, 'easel_memory_bytes', 'part="inputs"')).toBe(0)
  })

  it.each(LATENT_UPSCALERS)('begins the second pass from latents: %s', async (upscaler) => {
    const response = await generate(server, body({ hires: { upscaler, ...LARGE, strength: 0.5 } }))
    expect(response.status, await response.clone().text()).toBe(200)
    const file = Buffer.from(await response.arrayBuffer())
    const recipe = JSON.parse(response.headers.get('easel-recipe')!) as Recipe
    expect(recipe.hires).toEqual({ ...LARGE, strength: 0.5, upscaler })
    const { data, info } = await pixelsOf(file)
    expect(info).toMatchObject(LARGE)
    expect(data.equals(recipePictureFromLatents(recipe))).toBe(true)
    expect((await replayed(file)).equals(file)).toBe(true)
    expect(await metric(server, 'easel_memory_bytes', 'part="inputs"')).toBe(0)
  })

  it('takes bicubic for what it does by default: the files are equal', async () => {
    const file = async (hires: object) => Buffer.from(await (await generate(server, body({ hires }))).arrayBuffer())
    expect((await file({ ...LARGE, upscaler: 'bicubic' })).equals(await file(LARGE))).toBe(true)
  })

  it('is made on the restarted worker if the worker dies in the second pass', async () => {
    const slow = await startServer({ WORKER_ARGS: '--sizes 64x64,128x96 --fake-step-ms 40' })
    await slow.pool.firstReady
    const request = body({ hires: { ...LARGE, strength: 1, upscaler: 'latent-nearest-exact' } })
    const response = await generate(slow, request, { headers: { accept: 'text/event-stream' } })
    let [killed, image]: [boolean, ImageData | undefined] = [false, undefined]
    for await (const { event, data } of eventsOf(response)) {
      if (event === 'image') image = data as unknown as ImageData
      if (killed || event !== 'progress' || Number(data['step']) <= STEPS) continue
      killed = true
      process.kill(slow.pool.workerPids[0]!, 'SIGKILL')
    }
    expect(killed).toBe(true)
    const { data, recipe } = image!
    expect((await pixelsOf(Buffer.from(data, 'base64'))).data.equals(recipePictureFromLatents(recipe))).toBe(true)
  })

  it('makes one file, whatever the order of its fields', async () => {
    const file = async (hires: object) => Buffer.from(await (await generate(server, body({ hires }))).arrayBuffer())
    const one = await file({ ...LARGE, strength: 0.5, num_inference_steps: 7 })
    expect((await file({ num_inference_steps: 7, strength: 0.5, ...LARGE })).equals(one)).toBe(true)
  })

  it('gives several images, each from its own first pass, and counts the steps of both passes', async () => {
    const request = body({ hires: { ...LARGE, strength: 0.5 }, num_images: 2 })
    const response = await generate(server, request, { headers: { accept: 'text/event-stream' } })
    const events = []
    for await (const event of eventsOf(response)) events.push(event)
    const images = events.filter(({ event }) => event === 'image').map(({ data }) => data as unknown as ImageData)
    expect(images.map(({ index }) => index).toSorted()).toEqual([0, 1])
    for (const { data, recipe, width, height } of images) {
      expect({ width, height }).toEqual(LARGE)
      expect((await pixelsOf(Buffer.from(data, 'base64'))).data.equals(await expected(recipe))).toBe(true)
    }
    for (const index of [0, 1]) {
      const steps = events
        .filter(({ event, data }) => event === 'progress' && data['image'] === index)
        .map(({ data }) => data as { step: number; of: number })
      expect(new Set(steps.map(({ of }) => of))).toEqual(new Set([STEPS * 1.5]))
      const seen = steps.map(({ step }) => step)
      expect(seen).toEqual(seen.toSorted((a, b) => a - b))
      expect(seen.at(-1)).toBe(STEPS * 1.5)
    }
  })

  it.each([
    [{ hires: { width: 32, height: 32 } }, 'UNSUPPORTED_SIZE', '32x32 is not offered'],
    [{ hires: { ...LARGE, strength: 0.01 } }, 'INVALID_REQUEST', 'hires strength must be at least 0.1'],
    [{ hires: { ...LARGE, num_inference_steps: 3 }, sigmas: [3, 1, 0] }, 'INVALID_REQUEST', 'hires must not have'],
    [{ hires: { ...LARGE, num_inference_steps: 1001 } }, 'INVALID_REQUEST', 'num_inference_steps'],
    [{ hires: { width: 128 } }, 'INVALID_REQUEST', 'height'],
    [{ hires: { ...LARGE, upscaler: 'Latent' } }, 'INVALID_REQUEST', 'upscaler']
  ])('checks %j', async (more, code, message) => {
    const response = await generate(server, body(more))
    const error = (await response.json()) as { code: string; message: string }
    expect([response.status, error.code]).toEqual([400, code])
    expect(error.message).toContain(message)
  })
})
