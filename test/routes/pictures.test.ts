import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { Recipe } from '../../src/image/recipe.js'
import { blackPng, drawn, rawPixels } from '../support/pictures.js'
import { type Frames, recipePicture } from '../support/recipe-picture.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, metric, type RunningServer, shareServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWeb } from '../support/web.js'

const SIZE = { width: 64, height: 64 }
const STEPS = 10

const pixels = rawPixels(SIZE, 3, (x, y, channel) => (x * 3 + y * 2 + channel * 50) & 255)
const maskPixels = rawPixels(SIZE, 1, (x) => (x < 20 ? 255 : 0))
let image: Buffer
let mask: Buffer

beforeAll(async () => {
  image = await sharp(pixels, { raw: { ...SIZE, channels: 3 } })
    .png()
    .toBuffer()
  mask = await sharp(maskPixels, { raw: { ...SIZE, channels: 1 } })
    .png()
    .toBuffer()
})

const base64 = (file: Buffer) => file.toString('base64')
const sha256 = (file: Buffer) => createHash('sha256').update(file).digest('hex')
const body = (more: object = {}) => ({ prompt: 'a fox', num_inference_steps: STEPS, seed: 3, ...more })

function form(fields: Record<string, unknown>, files: Record<string, Buffer>): FormData {
  const data = new FormData()
  for (const [name, value] of Object.entries(fields))
    data.append(name, typeof value === 'string' ? value : JSON.stringify(value))
  for (const [name, file] of Object.entries(files)) data.append(name, new Blob([new Uint8Array(file)]), `${name}.png`)
  return data
}

const send = (server: RunningServer, fields: object, files: Record<string, Buffer>, init: RequestInit = {}) =>
  fetch(`${server.url}/generate`, { method: 'POST', body: form({ ...fields }, files), ...init })

async function made(response: Response): Promise<{ file: Buffer; recipe: Recipe; pixels: Buffer }> {
  expect(response.status, await response.clone().text()).toBe(200)
  const file = Buffer.from(await response.arrayBuffer())
  return {
    file,
    recipe: JSON.parse(response.headers.get('easel-recipe')!) as Recipe,
    pixels: await sharp(file).removeAlpha().raw().toBuffer()
  }
}

async function refusal(
  response: Response
): Promise<{ statusCode: number; code: string; field?: string; message: string }> {
  return (await response.json()) as { statusCode: number; code: string; field?: string; message: string }
}

const noFiles = (server: RunningServer) =>
  until('no picture is on the disk', async () => (await metric(server, 'easel_picture_files')) === 0)

const START: Frames = [{ role: 'image', pixels }]
const REPAINT: Frames = [...START, { role: 'mask', pixels: maskPixels }]

describe('POST /generate with a picture', () => {
  let server: RunningServer
  shareServer((ready) => (server = ready), { WORKER_ARGS: '--sizes 64x64,32x48,96x64,48x64' })

  it('starts from it, whether it comes as base64, as a data: URL or as a file, and runs the last steps', async () => {
    const { recipe, pixels: found, file } = await made(await generate(server, body({ image: base64(image) })))
    expect(recipe).toMatchObject({ image_sha256: sha256(image), strength: 0.3, num_inference_steps: STEPS })
    expect(recipe).not.toHaveProperty('image')
    expect(found.equals(recipePicture(recipe, '', START))).toBe(true)
    const others = [
      await generate(server, body({ image: `data:image/jpeg;base64,${base64(image)}` })),
      await send(server, body(), { image }),
      await send(server, body({ strength: 0.3 }), { image })
    ]
    for (const other of others) expect((await made(other)).file.equals(file)).toBe(true)
    await noFiles(server)
  })

  it('repaints what is white in a mask, and by default runs all steps but one', async () => {
    const { recipe, pixels: found } = await made(
      await generate(server, body({ image: base64(image), mask_image: base64(mask) }))
    )
    expect(recipe).toMatchObject({ image_sha256: sha256(image), mask_image_sha256: sha256(mask), strength: 0.9999 })
    expect(found.equals(recipePicture(recipe, '', REPAINT))).toBe(true)
    const whole = await made(await send(server, body({ strength: 1 }), { image, mask_image: mask }))
    expect(whole.recipe.strength).toBe(1)
    expect(whole.pixels.equals(recipePicture(whole.recipe, '', REPAINT))).toBe(true)
    expect(whole.pixels.equals(found)).toBe(false)
  })

  it('reads numbers, booleans and lists from the texts of a form', async () => {
    const fields = body({
      strength: 0.55,
      truncate: true,
      timesteps: [900, 500, 100],
      guidance_scale: 2.5,
      num_inference_steps: 3
    })
    const { recipe } = await made(await send(server, fields, { image }))
    expect(recipe).toMatchObject({ timesteps: [900, 500, 100], guidance_scale: 2.5, strength: 0.55 })
    const plain = await made(await send(server, body(), {}))
    expect(plain.pixels.equals(recipePicture(plain.recipe))).toBe(true)
  })

  it('takes the offered size whose aspect ratio is nearest to the picture, unless the request states one', async () => {
    const sized = async (size: { width: number; height: number }, more: object = {}) => {
      const file = await drawn(size).jpeg().toBuffer()
      const { recipe } = await made(await send(server, body(more), { image: file }))
      return [recipe.width, recipe.height]
    }
    expect(await sized({ width: 300, height: 190 })).toEqual([96, 64])
    expect(await sized({ width: 150, height: 201 })).toEqual([48, 64])
    expect(await sized({ width: 500, height: 500 })).toEqual([64, 64])
    expect(await sized({ width: 500, height: 500 }, { width: 96 })).toEqual([96, 64])
    expect(await sized({ width: 300, height: 190 }, { width: 32, height: 48 })).toEqual([32, 48])
  })

  it.each(['default', 'fill', 'crop'])('resizes it by resize_mode %s', async (resize_mode) => {
    const wide = await drawn({ width: 128, height: 64 }, 3, (x) => (x < 32 || x >= 96 ? 0 : 255))
      .png()
      .toBuffer()
    const { recipe, pixels: found } = await made(
      await send(server, body({ resize_mode, width: 64, height: 64 }), { image: wide })
    )
    expect(recipe.resize_mode).toBe(resize_mode)
    // Only its middle is white: half of it stretched, all of it cropped.
    if (resize_mode === 'crop')
      expect(found.equals(recipePicture(recipe, '', [{ role: 'image', pixels: Buffer.alloc(64 * 64 * 3, 255) }]))).toBe(
        true
      )
  })

  it('is reproduced by its recipe and the same files, byte for byte, and by no others', async () => {
    const first = await made(await send(server, body({ strength: 0.7 }), { image, mask_image: mask }))
    const answer = await fetch(`${server.url}/recipe`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: new Uint8Array(first.file)
    })
    const { request } = (await answer.json()) as { request: Record<string, unknown> }
    expect(request).toMatchObject({ image_sha256: sha256(image), mask_image_sha256: sha256(mask), strength: 0.7 })
    const again = await made(await send(server, request, { image, mask_image: mask }))
    expect(again.file.equals(first.file)).toBe(true)
    expect(await refusal(await generate(server, request))).toMatchObject({
      statusCode: 400,
      field: 'image',
      message: expect.stringContaining(sha256(image))
    })
    expect(await refusal(await send(server, request, { image }))).toMatchObject({ field: 'mask_image' })
    expect(await refusal(await send(server, request, { image, mask_image: image }))).toMatchObject({
      field: 'mask_image',
      message: `mask_image is another file than mask_image_sha256 says: its SHA-256 is ${sha256(image)}, not ${sha256(mask)}`
    })
  })

  it('with padding_mask_crop answers with the whole picture, repainted around the mask only', async () => {
    const size = { width: 200, height: 120 }
    const original = rawPixels(size, 3, (x, y, channel) => (x + 2 * y + 70 * channel) & 255)
    const white = (x: number, y: number) => x >= 150 && x < 170 && y >= 20 && y < 40
    const files = {
      image: await sharp(original, { raw: { ...size, channels: 3 } })
        .png()
        .toBuffer(),
      mask_image: await drawn(size, 3, (x, y) => (white(x, y) ? 255 : 0))
        .png()
        .toBuffer()
    }
    const fields = body({ padding_mask_crop: 6, width: 64, height: 64 })
    const { recipe, file, pixels: found } = await made(await send(server, fields, files))
    expect(await sharp(file).metadata()).toMatchObject(size)
    expect(recipe).toMatchObject({ padding_mask_crop: 6, width: 64, height: 64 })
    let changed = 0
    for (let at = 0; at < size.width * size.height; at++) {
      const same = found.subarray(3 * at, 3 * at + 3).equals(original.subarray(3 * at, 3 * at + 3))
      if (!white(at % size.width, Math.floor(at / size.width))) expect(same).toBe(true)
      else if (!same) changed += 1
    }
    expect(changed).toBeGreaterThan(300)
    const json = await send(server, fields, files, { headers: { accept: 'application/json' } })
    expect(((await json.json()) as { images: object[] }).images[0]).toMatchObject(size)
    await noFiles(server)
  })

  it('makes several images of one picture, and follows them by events', async () => {
    const response = await send(
      server,
      body({ num_images: 2, preview_interval: 1 }),
      { image },
      { headers: { accept: 'text/event-stream' } }
    )
    const text = await response.text()
    // 3 of 10 steps run.
    expect(text).toContain('"step":3,"of":3')
    expect(text.match(/^event: image$/gm)).toHaveLength(2)
    expect(text).toMatch(/^event: preview$/m)
  })

  it('joins a retry with the same key and picture, and refuses another picture', async () => {
    const headers = { 'idempotency-key': 'picture-key' }
    const first = await made(await send(server, body(), { image }, { headers }))
    const replayed = await generate(server, body({ image: base64(image) }), { headers })
    expect(replayed.headers.get('idempotent-replayed')).toBe('true')
    expect((await made(replayed)).file.equals(first.file)).toBe(true)
    expect(await refusal(await send(server, body(), { image: mask }, { headers }))).toMatchObject({
      code: 'IDEMPOTENCY_KEY_REUSED'
    })
  })

  const png = (): Record<string, Buffer> => ({ image })
  it.each([
    ['strength without image', { strength: 0.5 }, () => ({}), 'INVALID_REQUEST', 'strength', /needs image/],
    ['a mask without image', {}, () => ({ mask_image: mask }), 'INVALID_REQUEST', 'mask_image', /needs image/],
    [
      'padding_mask_crop without a mask',
      { padding_mask_crop: 3 },
      png,
      'INVALID_REQUEST',
      'padding_mask_crop',
      /needs mask_image/
    ],
    ['mask_from without a mask', { mask_from: 'white' }, png, 'INVALID_REQUEST', 'mask_from', /needs mask_image/],
    [
      'another resize_mode with padding_mask_crop',
      { padding_mask_crop: 3, resize_mode: 'crop' },
      () => ({ image, mask_image: mask }),
      'INVALID_REQUEST',
      'resize_mode',
      /must be fill/
    ],
    [
      'too little strength',
      { strength: 0.09 },
      png,
      'INVALID_REQUEST',
      'strength',
      /at least 0.1: .* none of the 10 steps/
    ],
    ['strength above 1', { strength: 1.5 }, png, 'INVALID_REQUEST', 'strength', /<= 1/],
    [
      'a size that is not offered',
      { width: 40, height: 40 },
      png,
      'UNSUPPORTED_SIZE',
      'width',
      /not offered|must be one of/
    ],
    ['a GIF', {}, () => ({ image: Buffer.from('GIF89a') }), 'INVALID_PICTURE', 'image', /^image has the format GIF/],
    ['half a file', {}, () => ({ image: image.subarray(0, image.length / 2) }), 'INVALID_PICTURE', 'image', /damaged/],
    ['an empty file', {}, () => ({ image: Buffer.alloc(0) }), 'INVALID_REQUEST', 'image', /is empty/],
    [
      'too many pixels',
      {},
      () => ({ image: blackPng({ width: 5000, height: 4000 }) }),
      'LIMIT_EXCEEDED',
      'image',
      /16777216/
    ],
    ['a field of the wrong type', { seed: 'seven' }, png, 'INVALID_REQUEST', 'seed', /integer/],
    ['an unknown field', { denoising: 1, stength: 0.3 }, png, 'INVALID_REQUEST', undefined, /not a field|did you mean/]
  ] as const)('refuses %s', async (_what, fields, files, code, field, message) => {
    const found = await refusal(await send(server, body(fields), files() as Record<string, Buffer>))
    expect(found).toMatchObject({
      code,
      message: expect.stringMatching(message),
      ...(field === undefined ? {} : { field })
    })
    await noFiles(server)
  })

  it.each([
    ['text that is not base64', '!', 'INVALID_REQUEST', /^image is not base64/],
    ['a URL', 'https://example.com/a.png', 'INVALID_REQUEST', /fetches nothing/],
    ['an empty text', '', 'INVALID_REQUEST', /is empty/],
    ['a number', 5, 'INVALID_REQUEST', /image must be string/]
  ])('refuses %s as a picture', async (_what, value, code, message) => {
    expect(await refusal(await generate(server, body({ image: value })))).toMatchObject({
      code,
      field: 'image',
      message: expect.stringMatching(message)
    })
  })

  it('refuses a second picture of a field', async () => {
    const twice = form(body(), { image })
    twice.append('image', new Blob([new Uint8Array(image)]), 'b.png')
    const answer = await fetch(`${server.url}/generate`, { method: 'POST', body: twice })
    expect(await refusal(answer)).toMatchObject({
      statusCode: 400,
      field: 'image',
      message: 'image is given more than once: send one picture'
    })
    await noFiles(server)
  })

  it("passes through the page's process", async () => {
    const web = await startWeb(server.url)
    const direct = await made(await send(server, body(), { image }))
    const forwarded = await fetch(`${web.url}/generate`, { method: 'POST', body: form(body(), { image }) })
    expect((await made(forwarded)).file.equals(direct.file)).toBe(true)
  })

  it('is limited as /health says', async () => {
    const health = (await (await fetch(`${server.url}/health`)).json()) as object
    expect(health).toMatchObject({
      features: expect.arrayContaining(['image_to_image', 'inpainting']),
      pictures: { formats: ['png', 'jpeg', 'webp'], max_bytes: 16_777_216, max_pixels: 16_777_216 }
    })
  })

  it('counts decodes, bytes and refusals', async () => {
    const before = await metric(server, 'easel_picture_bytes_total')
    await made(await send(server, body(), { image }))
    expect(await metric(server, 'easel_picture_bytes_total')).toBe(before + image.length)
    expect(await metric(server, 'easel_picture_decode_duration_seconds_count')).toBeGreaterThan(0)
    expect(await metric(server, 'easel_pictures_refused_total', 'reason="format"')).toBeGreaterThan(0)
    expect(await metric(server, 'easel_memory_bytes', 'part="inputs"')).toBe(0)
  })
})

describe('limits of pictures', () => {
  it('refuse a file, a body and a text above them, and let bodies with pictures cost no memory for bodies', async () => {
    // 2 MiB for all bodies: less than one of these.
    const server = await startReadyServer({
      MEMORY_BUDGET: String(16 * 2 ** 20),
      PICTURE_LIMIT: String(3 * 2 ** 20),
      BODY_LIMIT: '65536'
    })
    const padded = (bytes: number) => Buffer.concat([image, Buffer.alloc(bytes - image.length)])
    for (const file of [padded(3 * 2 ** 20)]) {
      expect((await send(server, body(), { image: file, mask_image: file })).status).toBe(200)
      expect((await generate(server, body({ image: base64(file), mask_image: base64(file) }))).status).toBe(200)
    }
    const long = padded(3 * 2 ** 20 + 1)
    expect(await refusal(await send(server, body(), { image: long }))).toMatchObject({
      code: 'BODY_TOO_LARGE',
      field: 'image'
    })
    expect(await refusal(await generate(server, body({ image: base64(long) })))).toMatchObject({
      code: 'BODY_TOO_LARGE',
      field: 'image'
    })
    const text = body({ prompt: 'x'.repeat(70_000) })
    for (const response of [
      await send(server, text, { image }),
      await generate(server, { ...text, image: base64(image) })
    ])
      expect(await refusal(response)).toMatchObject({ statusCode: 413, code: 'BODY_TOO_LARGE' })
    await noFiles(server)
  })

  it('bound the disk for all clients, and free what a client that leaves had sent', async () => {
    const server = await startReadyServer({ PICTURE_LIMIT: '100000', PICTURE_DISK: '150000' })
    const { port } = new URL(server.url)
    const slow = net.connect(Number(port), '127.0.0.1')
    onTestFinished(() => void slow.destroy())
    const head = '--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
    slow.write(
      `POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n${head}`
    )
    slow.write(Buffer.alloc(90_000))
    await until('its bytes are on the disk', async () => (await metric(server, 'easel_picture_disk_bytes')) > 80_000)
    const large = Buffer.concat([image, Buffer.alloc(70_000)])
    const refused = await send(server, body(), { image: large })
    expect(refused.headers.get('retry-after')).not.toBeNull()
    expect(await refusal(refused)).toMatchObject({ statusCode: 503, code: 'MEMORY_FULL', field: 'image' })
    expect((await send(server, body(), { image })).status).toBe(200)
    slow.destroy()
    await noFiles(server)
    expect((await send(server, body(), { image: large })).status).toBe(200)
  })

  it('say that the disk fails, log why, and lose nothing else', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-pictures-'))
    const server = await startReadyServer({ PICTURE_FOLDER: folder })
    await rm(folder, { recursive: true })
    const failed = await refusal(await send(server, body(), { image }))
    expect(failed).toMatchObject({ statusCode: 507, code: 'STORAGE_FULL', field: 'image' })
    expect(failed.message).not.toContain(folder)
    const line = server.logs.find(({ code }) => code === 'STORAGE_FULL')
    expect(line).toMatchObject({
      level: 50,
      err: expect.objectContaining({ stack: expect.stringContaining('ENOENT') })
    })
    expect((await generate(server, body())).status).toBe(200)
  })

  it('refuse a picture for which there is no memory, and wait for none', async () => {
    // 2 MiB for decoded pictures.
    const server = await startReadyServer({
      MEMORY_BUDGET: String(16 * 2 ** 20),
      WORKER_ARGS: '--sizes 64x64,1024x1024,512x512 --fake-step-ms 20'
    })
    expect(await refusal(await send(server, body({ width: 1024, height: 1024 }), { image }))).toMatchObject({
      statusCode: 400,
      code: 'LIMIT_EXCEEDED',
      field: 'image'
    })
    const controller = new AbortController()
    const busy = Array.from({ length: 2 }, (_, seed) =>
      send(
        server,
        body({ width: 512, height: 512, num_inference_steps: 100, strength: 1, seed }),
        { image },
        { signal: controller.signal }
      )
    )
    await until('both are accepted', () => server.service.ledger.accepted === 2)
    expect(await metric(server, 'easel_memory_bytes', 'part="inputs"')).toBe(2 * 512 * 512 * 3)
    const refused = await send(server, body({ width: 512, height: 512 }), { image })
    expect(await refusal(refused)).toMatchObject({ statusCode: 503, code: 'MEMORY_FULL' })
    expect((await generate(server, body({ width: 64, height: 64 }))).status).toBe(200)
    controller.abort()
    await Promise.allSettled(busy)
    await until('their memory is free', async () => (await metric(server, 'easel_memory_bytes', 'part="inputs"')) === 0)
  })
})

it('the time of a request includes the wait for a decoder', async () => {
  const server = await startReadyServer()
  const heavy = blackPng({ width: 4096, height: 4096 }, { depth: 16, colour: 6 })
  const busy = Array.from({ length: 6 }, () => send(server, body(), { image: heavy }))
  await until('pictures are decoded', async () => (await metric(server, 'easel_picture_files')) > 3)
  const late = await refusal(await send(server, body({ timeout: 0.05 }), { image }))
  expect(late).toMatchObject({ statusCode: 504, code: 'DEADLINE_EXCEEDED' })
  for (const response of await Promise.all(busy)) expect(response.status).toBe(200)
  await noFiles(server)
})

describe('workers and pictures', () => {
  it('without the feature get none: 400, or 503 while it is compiled', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--image-inputs false' })
    expect(await refusal(await send(server, body(), { image }))).toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      field: 'image'
    })
    const worker = new ScriptedWorker(server.endpoint, 'scripted', server.pool.state.workers[0]!.hello)
    await worker.hello({ features: ['image_to_image'], coming_features: ['inpainting'] })
    await until('two workers are connected', () => server.pool.state.workers.length === 2)
    const coming = await send(server, body(), { image, mask_image: mask })
    expect(coming.headers.get('retry-after')).not.toBeNull()
    expect(await refusal(coming)).toMatchObject({
      statusCode: 503,
      code: 'NOT_READY',
      field: 'mask_image',
      message: 'mask_image is not available yet: the programs for it are still being compiled; retry later'
    })
    const asked = send(server, body(), { image })
    await until('the worker with the feature has the job', () => worker.jobs.length === 1)
    expect(worker.jobs[0]).toMatchObject({
      steps: 3,
      schedule_steps: STEPS,
      pictures: [{ role: 'image', ...SIZE, channels: 3 }]
    })
    expect(worker.frames[0]!.map((frame) => frame.equals(pixels))).toEqual([true])
    await worker.finish()
    expect((await asked).status).toBe(200)
  })

  it('get the same frames again after a worker died', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 30' })
    const asked = send(server, body({ num_inference_steps: 30, strength: 1 }), { image, mask_image: mask })
    await until('it runs', () => (server.pool.state.workers[0]?.heartbeat?.rows_in_use ?? 0) > 0)
    process.kill(server.pool.workerPids[0]!, 'SIGKILL')
    const { recipe, pixels: found } = await made(await asked)
    expect(await metric(server, 'easel_replays_total')).toBe(1)
    expect(found.equals(recipePicture(recipe, '', REPAINT))).toBe(true)
  })
})

describe('a content type', () => {
  let server: RunningServer
  shareServer((ready) => (server = ready))

  it.each(['Application/JSON', 'application/json; charset=utf-8', 'application/json;x=y', 'application/json '])(
    'written as %j has its body checked',
    async (type) => {
      for (const path of ['generate', 'v1/images/edits']) {
        const response = await fetch(`${server.url}/${path}`, {
          method: 'POST',
          headers: { 'content-type': type },
          body: JSON.stringify({ prompt: 5, image: base64(image) })
        })
        expect(response.status).toBe(400)
        expect(await response.text()).toMatch(/prompt must be string|must have required property/)
      }
    }
  )

  it('that a route does not name is refused, also where its neighbours take it', async () => {
    const response = await fetch(`${server.url}/v1/images/variations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ images: [{ image_url: base64(image) }], size: 5 })
    })
    expect(response.status).toBe(415)
    expect(await response.json()).toMatchObject({
      error: { param: 'content-type', message: 'content-type must be multipart/form-data' }
    })
  })
})
