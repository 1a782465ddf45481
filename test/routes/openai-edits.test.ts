import { createReadStream } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI, { toFile } from 'openai'
import sharp from 'sharp'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { Recipe } from '../../src/image/recipe.js'
import { rawPixels } from '../support/pictures.js'
import { recipePicture } from '../support/recipe-picture.js'
import { type RunningServer, shareServer } from '../support/server.js'

const SIZE = { width: 64, height: 64 }
const pixels = rawPixels(SIZE, 3, (x, y, channel) => (x * 3 + y * 2 + channel * 50) & 255)
const holes = rawPixels(SIZE, 4, (x, _y, channel) => (channel === 3 ? (x < 20 ? 0 : 255) : 9))
const maskPixels = rawPixels(SIZE, 1, (x) => (x < 20 ? 255 : 0))

let server: RunningServer
let client: OpenAI
let image: Buffer
let mask: Buffer

shareServer(
  (ready) => {
    server = ready
    client = new OpenAI({ baseURL: `${ready.url}/v1`, apiKey: 'none', maxRetries: 0 })
  },
  { WORKER_ARGS: '--sizes 64x64,96x64,64x96 --fake-step-ms 1' }
)

beforeAll(async () => {
  image = await sharp(pixels, { raw: { ...SIZE, channels: 3 } })
    .png()
    .toBuffer()
  mask = await sharp(holes, { raw: { ...SIZE, channels: 4 } })
    .png()
    .toBuffer()
})

/** SDXL's own fields, which the client sends although its types lack them. */
type Extra = { seed?: number; num_inference_steps?: number; strength?: number; mask_from?: string }

const file = (bytes: Buffer, name = 'a.png') => toFile(bytes, name, { type: 'image/png' })
const edit = (params: OpenAI.ImageEditParamsNonStreaming & Extra) => client.images.edit(params)

/** The recipe of an image, as its file has it, and its pixels. */
async function read(bytes: Buffer): Promise<{ recipe: Recipe; pixels: Buffer }> {
  const { comments } = await sharp(bytes).metadata()
  return {
    recipe: JSON.parse(comments!.find(({ keyword }) => keyword === 'easel')!.text) as Recipe,
    pixels: await sharp(bytes).removeAlpha().raw().toBuffer()
  }
}

const only = (response: OpenAI.ImagesResponse) => Buffer.from(response.data![0]!.b64_json!, 'base64')

describe('the official OpenAI client', () => {
  it('edits a picture, whatever else it sends', async () => {
    const response = await edit({
      image: await file(image),
      prompt: 'a lighthouse',
      model: 'gpt-image-1',
      n: 2,
      size: 'auto',
      quality: 'high',
      background: 'opaque',
      input_fidelity: 'high',
      output_format: 'png',
      output_compression: 90,
      user: 'someone',
      num_inference_steps: 10
    })
    expect(response.data).toHaveLength(2)
    expect(response).toMatchObject({ size: '64x64', output_format: 'png' })
    const { recipe, pixels: found } = await read(only(response))
    expect(recipe).toMatchObject({ prompt: 'a lighthouse', strength: 0.8, num_inference_steps: 10 })
    expect(found.equals(recipePicture(recipe, '', [{ role: 'image', pixels }]))).toBe(true)
  })

  it('repaints what is transparent in the mask', async () => {
    const response = await edit({ image: await file(image), mask: await file(mask), prompt: 'a boat', seed: 5 })
    const { recipe, pixels: found } = await read(only(response))
    expect(recipe).toMatchObject({ strength: 0.9999, mask_from: 'transparent', seed: 5 })
    const frames = [
      { role: 'image' as const, pixels },
      { role: 'mask' as const, pixels: maskPixels }
    ]
    expect(found.equals(recipePicture(recipe, '', frames))).toBe(true)
    // Its recipe, sent to POST /generate with the same files, gives the same bytes.
    const { request } = (await (
      await fetch(`${server.url}/recipe`, {
        method: 'POST',
        headers: { 'content-type': 'image/png' },
        body: new Uint8Array(only(response))
      })
    ).json()) as { request: Record<string, unknown> }
    const form = new FormData()
    for (const [name, value] of Object.entries(request)) form.append(name, String(value))
    form.append('image', new Blob([new Uint8Array(image)]))
    form.append('mask_image', new Blob([new Uint8Array(mask)]))
    const again = await fetch(`${server.url}/generate`, { method: 'POST', body: form })
    expect(Buffer.from(await again.arrayBuffer()).equals(only(response))).toBe(true)
  })

  it('repaints what is transparent in the picture itself without a mask, but not for models that do not', async () => {
    const cut = await sharp(
      rawPixels(SIZE, 4, (x, y, channel) => (channel === 3 ? (x < 20 ? 0 : 255) : pixels[(y * 64 + x) * 3 + channel]!)),
      { raw: { ...SIZE, channels: 4 } }
    )
      .png()
      .toBuffer()
    const own = await edit({
      image: await file(cut),
      prompt: 'a boat',
      seed: 5,
      response_format: 'b64_json',
      model: 'dall-e-2'
    })
    const { recipe, pixels: found } = await read(only(own))
    expect(recipe).toMatchObject({ strength: 0.9999, mask_from: 'transparent' })
    expect(recipe.mask_image_sha256).toBe(recipe.image_sha256)
    const frames = [
      { role: 'image' as const, pixels },
      { role: 'mask' as const, pixels: maskPixels }
    ]
    expect(found.equals(recipePicture(recipe, '', frames))).toBe(true)
    const unmasked = async (params: Partial<OpenAI.ImageEditParamsNonStreaming> & Extra, bytes: Buffer = cut) =>
      (await read(only(await edit({ image: await file(bytes), prompt: 'a boat', ...params })))).recipe
    for (const whole of [
      await unmasked({ model: 'gpt-image-1' }),
      await unmasked({}, image),
      await unmasked({}, await sharp(cut).flatten().ensureAlpha().png().toBuffer())
    ])
      expect(whole).not.toHaveProperty('mask_image_sha256')
    expect(await unmasked({})).toHaveProperty('mask_image_sha256')
  })

  it('sends a file as a stream, in a list of one, and takes a size', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-edit-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    await writeFile(join(folder, 'a.png'), image)
    const params = { prompt: 'x', seed: 1, size: '64x96' } as unknown as OpenAI.ImageEditParamsNonStreaming
    const one = await edit({ ...params, image: createReadStream(join(folder, 'a.png')) })
    const listed = await edit({ ...params, image: [await file(image)] })
    expect(one.size).toBe('64x96')
    expect(only(one).equals(only(listed))).toBe(true)
  })

  it('streams partial images and the image', async () => {
    const stream = await client.images.edit({
      image: await file(image),
      prompt: 'x',
      stream: true,
      partial_images: 2,
      num_inference_steps: 20
    } as OpenAI.ImageEditParamsStreaming)
    const events: OpenAI.ImageEditStreamEvent[] = []
    for await (const event of stream) events.push(event)
    expect(events.map(({ type }) => type)).toEqual([
      'image_edit.partial_image',
      'image_edit.partial_image',
      'image_edit.completed'
    ])
    const last = events.at(-1)! as OpenAI.ImageEditCompletedEvent
    expect((await sharp(Buffer.from(last.b64_json, 'base64')).metadata()).width).toBe(64)
  })

  it('varies a picture without a prompt, and gets a URL by default', async () => {
    const response = await client.images
      .createVariation({ image: await file(image), n: 2, size: '256x256' })
      .catch((error: unknown) => error)
    expect(response).toMatchObject({ status: 400, param: 'size', code: 'UNSUPPORTED_SIZE' })
    const { data } = await client.images.createVariation({ image: await file(image), n: 2, model: 'dall-e-2' })
    expect(data).toHaveLength(2)
    const bytes = Buffer.from(data![0]!.url!.split(',')[1]!, 'base64')
    const { recipe, pixels: found } = await read(bytes)
    expect(recipe).toMatchObject({ prompt: ' ', strength: 0.6 })
    expect(found.equals(recipePicture(recipe, '', [{ role: 'image', pixels }]))).toBe(true)
    const other = await client.images.createVariation({ image: await file(image), response_format: 'b64_json' })
    expect(other.data![0]!.b64_json).toBeDefined()
  })

  it.each([
    [
      'two pictures',
      async () => edit({ image: [await file(image), await file(mask)], prompt: 'x' }),
      400,
      'image',
      /^image is given more than once/
    ],
    [
      'no prompt',
      async () => edit({ image: await file(image) } as OpenAI.ImageEditParamsNonStreaming),
      400,
      'prompt',
      /prompt/
    ],
    [
      'a mask without transparency',
      async () => edit({ image: await file(image), mask: await file(image), prompt: 'x' }),
      400,
      'mask',
      /^mask has no transparency/
    ],
    [
      'a GIF',
      async () => edit({ image: await file(Buffer.from('GIF89a')), prompt: 'x' }),
      400,
      'image',
      /^image has the format GIF/
    ],
    [
      'an unknown model',
      async () => edit({ image: await file(image), prompt: 'x', model: 'other' }),
      404,
      'model',
      /other/
    ],
    [
      'too little strength',
      async () => edit({ image: await file(image), prompt: 'x', strength: 0.01 }),
      400,
      'strength',
      /at least/
    ]
  ] as const)('is told about %s', async (_what, ask, status, param, message) => {
    await expect(ask()).rejects.toMatchObject({
      status,
      param,
      message: expect.stringMatching(new RegExp(message.source.replace('^', String.raw`^\d+ `)))
    })
  })
})

describe('POST /v1/images/edits', () => {
  const post = (body: object) =>
    fetch(`${server.url}/v1/images/edits`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body)
    })
  const url = (bytes: Buffer) => ({ image_url: `data:image/png;base64,${bytes.toString('base64')}` })

  it('takes JSON with data: URLs, and gives what the form gives', async () => {
    const json = await post({
      prompt: 'a boat',
      seed: 5,
      images: [url(image)],
      mask: url(mask),
      quality: 'low',
      n: null
    })
    const formed = await edit({ image: await file(image), mask: await file(mask), prompt: 'a boat', seed: 5 })
    expect(only((await json.json()) as OpenAI.ImagesResponse).equals(only(formed))).toBe(true)
  })

  it("takes a white mask by mask_from, and the fields of the form's texts", async () => {
    const white = await sharp(maskPixels, { raw: { ...SIZE, channels: 1 } })
      .png()
      .toBuffer()
    const response = await edit({
      image: await file(image),
      mask: await file(white),
      prompt: 'a boat',
      mask_from: 'white',
      strength: 0.5,
      num_inference_steps: 8
    })
    expect((await read(only(response))).recipe).toMatchObject({
      mask_from: 'white',
      strength: 0.5,
      num_inference_steps: 8
    })
  })

  it.each([
    ['no picture', { prompt: 'x' }, 'images'],
    ['a URL', { prompt: 'x', images: [{ image_url: 'https://example.com/a.png' }] }, 'image'],
    ['a file id', { prompt: 'x', images: [{ file_id: 'file-1' }] }, 'image_url'],
    [
      'two pictures',
      { prompt: 'x', images: [{ image_url: 'data:;base64,YQ==' }, { image_url: 'data:;base64,YQ==' }] },
      'image'
    ],
    ['no object', [], null]
  ])('refuses %s', async (_what, body, param) => {
    const response = await post(body)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { type: 'invalid_request_error', param } })
  })

  it('refuses a form without a picture, and a body without anything', async () => {
    const form = new FormData()
    form.append('prompt', 'x')
    for (const path of ['edits', 'variations']) {
      for (const body of [form, undefined]) {
        const response = await fetch(`${server.url}/v1/images/${path}`, { method: 'POST', ...(body && { body }) })
        expect(response.status).toBe(400)
        expect(await response.json()).toMatchObject({ error: { param: 'image' } })
      }
    }
  })
})
