import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Recipe } from '../../src/image/recipe.js'
import type { Pixels } from '../../src/pictures/pixels.js'
import { LineThreads } from '../../src/pictures/preprocess.js'
import type { Preprocessor } from '../../src/pictures/preprocessors.js'
import { resized } from '../../src/pictures/transform.js'
import { blackPng, drawn, rawPixels } from '../support/pictures.js'
import { type Frames, recipePicture } from '../support/recipe-picture.js'
import { generate, metric, openServer, type RunningServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const threads = new LineThreads()

const SIZE = { width: 64, height: 64 }
const STEPS = 10
const body = (more: object = {}) => ({ prompt: 'a fox', num_inference_steps: STEPS, seed: 3, ...SIZE, ...more })

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const base64 = (bytes: Buffer) => bytes.toString('base64')

/** A picture with lines, of another size and shape than the image. */
const own = { width: 150, height: 80 }
const drawing = rawPixels(own, 3, (x, y, channel) => (x % 40 < 3 || y % 30 < 3 ? 20 : 120 + channel * 30))
const picture = await sharp(drawing, { raw: { ...own, channels: 3 } })
  .png()
  .toBuffer()
const other = await drawn(own).png().toBuffer()
const pixelsOf = (data: Buffer): Pixels => ({ ...own, channels: 3, data })
const otherPixels = await sharp(other).raw().toBuffer()

const NONE: Preprocessor = { name: 'none' }
const CANNY: Preprocessor = { name: 'canny', low: 100, high: 200 }

/** What a worker gets for a control picture. */
async function control(
  size = SIZE,
  preprocessor: Preprocessor = NONE,
  data = drawing,
  mode: 'default' | 'crop' | 'fill' = 'default'
) {
  const fitting = await resized(pixelsOf(data), size, mode)
  return { role: 'control' as const, pixels: (await threads.preprocessed(fitting, preprocessor, { seconds: 60 })).data }
}

const reference = (data = drawing) => ({ role: 'ip_adapter' as const, pixels: data })

interface Made {
  recipe: Recipe
  file: Buffer
  pixels: Buffer
}

async function made(response: Response): Promise<Made> {
  expect(response.status, await response.clone().text()).toBe(200)
  const recipe = JSON.parse(response.headers.get('easel-recipe')!) as Recipe
  const file = Buffer.from(await response.arrayBuffer())
  return { recipe, file, pixels: await sharp(file).removeAlpha().raw().toBuffer() }
}

const isImage = ({ recipe, pixels }: Made, frames: Frames) =>
  expect(pixels.equals(recipePicture(recipe, '', frames))).toBe(true)

/** Sends a form; objects are JSON, and a list of files is a part for each. */
function send(server: RunningServer, fields: object, files: Record<string, Buffer | Buffer[]>): Promise<Response> {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields))
    form.set(name, typeof value === 'object' ? JSON.stringify(value) : String(value))
  for (const [name, bytes] of Object.entries(files))
    for (const each of [bytes].flat()) form.append(name, new Blob([new Uint8Array(each)]), 'a.png')
  return fetch(`${server.url}/generate`, { method: 'POST', body: form })
}

async function refusal(response: Response) {
  const { code, field, message } = (await response.json()) as { code: string; field?: string; message: string }
  return { status: response.status, code, field, message }
}

async function requestOf(server: RunningServer, file: Buffer): Promise<Record<string, any>> {
  const read = await fetch(`${server.url}/recipe`, {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    body: new Uint8Array(file)
  })
  return ((await read.json()) as { request: Record<string, any> }).request
}

const noFiles = (server: RunningServer) =>
  until('no picture is on the disk or in memory', async () => {
    const files = await metric(server, 'easel_picture_files')
    return files === 0 && (await metric(server, 'easel_memory_bytes', 'part="inputs"')) === 0
  })

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'easel-controls-'))
  await mkdir(join(folder, 'nets/xl'), { recursive: true })
  await mkdir(join(folder, 'adapters'))
  await writeFile(join(folder, 'nets/canny.safetensors'), 'edges')
  await writeFile(join(folder, 'nets/xl/depth.safetensors'), 't2i-adapter for depth')
  await writeFile(join(folder, 'adapters/plus.safetensors'), '16')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('control pictures', () => {
  let server: RunningServer
  let stop: () => Promise<void>
  let lists: {
    controls: { name: string; digest: string; kind: string }[]
    ip_adapters: { name: string; digest: string }[]
  }
  beforeAll(async () => {
    const args = `--sizes 64x64,96x128 --controlnets ${folder}/nets --ip-adapters ${folder}/adapters`
    ;({ server, stop } = await openServer({ WORKER_ARGS: args }))
    await server.pool.firstReady
    const read = async (path: string) => (await (await fetch(`${server.url}${path}`)).json()) as object
    lists = { ...(await read('/controls')), ...(await read('/ip-adapters')) } as typeof lists
    return stop
  })

  const digestOf = (name: string) =>
    [...lists.controls, ...lists.ip_adapters].find((each) => each.name === name)!.digest

  it('are followed by what GET /controls and GET /ip-adapters list, and /health says so', async () => {
    expect(lists).toEqual({
      controls: [
        { name: 'canny', digest: sha256(Buffer.from('edges')), kind: 'controlnet' },
        { name: 'xl/depth', digest: sha256(Buffer.from('t2i-adapter for depth')), kind: 't2i-adapter' }
      ],
      ip_adapters: [{ name: 'plus', digest: sha256(Buffer.from('16')), tokens: 16 }]
    })
    const health = (await (await fetch(`${server.url}/health`)).json()) as { features: string[] }
    expect(health.features).toEqual(expect.arrayContaining(['controls', 'ip_adapters']))
    const unknown = await fetch(`${server.url}/controls?model=nobody`)
    expect(unknown.status).toBe(404)
  })

  it('come in JSON, and the recipe says their values and digests but not their pixels', async () => {
    const controls = [{ name: 'canny', image: base64(picture) }]
    const image = await made(await generate(server, body({ controls })))
    expect(image.recipe.controls).toEqual([
      {
        name: 'canny',
        digest: digestOf('canny'),
        image_sha256: sha256(picture),
        controlnet_conditioning_scale: 1
      }
    ])
    isImage(image, [await control()])
    await noFiles(server)
  })

  it('come in a form as files in the order of controls and ip_adapters, and make the same file as in JSON', async () => {
    const entries = {
      controls: [
        { name: 'depth', controlnet_conditioning_scale: 0.5, control_guidance_start: 0.1, control_guidance_end: 0.8 },
        { name: 'canny', preprocessor: 'canny', resize_mode: 'crop' }
      ],
      ip_adapters: [{ name: 'plus', scale: 0.6 }]
    }
    const files = { ip_adapter_image: other, control_image: [other, picture] }
    const image = await made(await send(server, body(entries), files))
    expect(image.recipe).toMatchObject({
      controls: [
        { name: 'xl/depth', image_sha256: sha256(other), control_guidance_start: 0.1, control_guidance_end: 0.8 },
        { name: 'canny', image_sha256: sha256(picture), low_threshold: 100, high_threshold: 200 }
      ],
      ip_adapters: [{ name: 'plus', scale: 0.6, image_sha256: sha256(other) }]
    })
    isImage(image, [
      await control(SIZE, NONE, otherPixels),
      await control(SIZE, CANNY, drawing, 'crop'),
      reference(otherPixels)
    ])
    const json = await made(
      await generate(
        server,
        body({
          controls: entries.controls.map((entry, index) => ({
            ...entry,
            image: base64(index === 0 ? other : picture)
          })),
          ip_adapters: [{ ...entries.ip_adapters[0], image: `data:image/png;base64,${base64(other)}` }]
        })
      )
    )
    expect(json.file.equals(image.file)).toBe(true)
    await noFiles(server)
  })

  it.each([
    [
      'canny',
      { name: 'canny', low: 10, high: 2000 },
      { preprocessor: 'canny', low_threshold: 10, high_threshold: 2000 }
    ],
    ['lineart', { name: 'lineart' }, { preprocessor: 'lineart' }],
    ['none', NONE, { preprocessor: 'none' }]
  ] as [string, Preprocessor, object][])(
    'are preprocessed at the size of the image by %s',
    async (_, meant, values) => {
      const controls = [{ name: 'canny', image: base64(picture), ...values }]
      const image = await made(await generate(server, body({ controls, width: 96, height: 128 })))
      expect(image.recipe.controls).toMatchObject(meant.name === 'none' ? [{ name: 'canny' }] : [values])
      isImage(image, [await control({ width: 96, height: 128 }, meant)])
    }
  )

  it('come with an image and a mask to start from, after them', async () => {
    const mask = await sharp(Buffer.alloc(64 * 64, 255), { raw: { ...SIZE, channels: 1 } })
      .png()
      .toBuffer()
    const fields = body({ controls: [{ name: 'canny' }], ip_adapters: [{ name: 'plus' }], strength: 0.5 })
    const image = await made(
      await send(server, fields, { control_image: picture, image: other, mask_image: mask, ip_adapter_image: picture })
    )
    const start = await resized(pixelsOf(otherPixels), SIZE, 'default')
    isImage(image, [
      { role: 'image', pixels: start.data },
      { role: 'mask', pixels: Buffer.alloc(64 * 64, 255) },
      await control(),
      reference()
    ])
  })

  it('are followed in both passes of hires, each at its own size', async () => {
    const hires = { width: 96, height: 128, strength: 0.5 }
    const fields = body({
      hires,
      controls: [{ name: 'canny', preprocessor: 'canny' }],
      ip_adapters: [{ name: 'plus' }]
    })
    const { recipe, pixels } = await made(
      await send(server, fields, { control_image: picture, ip_adapter_image: other })
    )
    const { hires: _, ...rest } = recipe
    const first = recipePicture(rest as Recipe, '', [await control(SIZE, CANNY), reference(otherPixels)])
    const enlarged = await resized({ ...SIZE, channels: 3, data: first }, hires, 'default')
    const second = recipePicture({ ...rest, ...hires } as Recipe, '', [
      { role: 'image', pixels: enlarged.data },
      await control(hires, CANNY),
      reference(otherPixels)
    ])
    expect(pixels.equals(second)).toBe(true)
    await noFiles(server)
  })

  it('reduces a large picture for an IP-Adapter to 1024 pixels a side', async () => {
    const large = await drawn({ width: 2048, height: 1000 }).png().toBuffer()
    const image = await made(await send(server, body({ ip_adapters: [{ name: 'plus' }] }), { ip_adapter_image: large }))
    const reduced = await resized(
      { width: 2048, height: 1000, channels: 3, data: await sharp(large).raw().toBuffer() },
      { width: 1024, height: 500 },
      'default'
    )
    isImage(image, [reference(reduced.data)])
  })

  it('are reproduced by the recipe and the same files, byte for byte, and by no others', async () => {
    const fields = body({ controls: [{ name: 'canny', preprocessor: 'lineart' }], ip_adapters: [{ name: 'plus' }] })
    const files = { control_image: picture, ip_adapter_image: other }
    const first = await made(await send(server, fields, files))
    const request = await requestOf(server, first.file)
    expect((await made(await send(server, request, files))).file.equals(first.file)).toBe(true)
    const stated = { preprocessor: 'lineart', resize_mode: 'default', control_guidance_end: 1, name: 'canny' }
    expect((await made(await send(server, { ...fields, controls: [stated] }, files))).file.equals(first.file)).toBe(
      true
    )
    expect(await refusal(await send(server, request, { ...files, control_image: other }))).toMatchObject({
      code: 'INVALID_REQUEST',
      field: 'controls',
      message: expect.stringContaining('controls[0].image is another file than image_sha256 says')
    })
    expect(await refusal(await generate(server, request))).toMatchObject({
      code: 'INVALID_REQUEST',
      field: 'controls',
      message: expect.stringContaining('controls[0].image must be sent: image_sha256 says that it is the file')
    })
    await noFiles(server)
  })

  it('make a repeated Idempotency-Key the same request only with the same files', async () => {
    const headers = { 'idempotency-key': 'controls-1' }
    const asked = (bytes: Buffer) =>
      generate(server, body({ controls: [{ name: 'canny', image: base64(bytes) }] }), { headers })
    const first = await made(await asked(picture))
    const again = await asked(picture)
    expect(again.headers.get('idempotent-replayed')).toBe('true')
    expect((await made(again)).file.equals(first.file)).toBe(true)
    expect((await refusal(await asked(other))).code).toBe('IDEMPOTENCY_KEY_REUSED')
    await noFiles(server)
  })

  const one = (more: object = {}) => [{ name: 'canny', image: base64(picture), ...more }]
  const bomb = blackPng({ width: 20_000, height: 10_000 })
  it.each<[string, () => object, string, string, RegExp]>([
    [
      'an unknown net',
      () => ({ controls: one({ name: 'pose' }) }),
      'UNSUPPORTED_CONTROL',
      'controls',
      /no ControlNet or T2I-Adapter "pose"; there are canny, xl\/depth/
    ],
    [
      'an unknown IP-Adapter',
      () => ({ ip_adapters: one() }),
      'UNSUPPORTED_CONTROL',
      'ip_adapters',
      /no IP-Adapter "canny"; there are plus/
    ],
    [
      'another digest',
      () => ({ controls: one({ digest: '0'.repeat(64) }) }),
      'UNSUPPORTED_CONTROL',
      'controls',
      /canny is another one now/
    ],
    [
      'three controls',
      () => ({ controls: [...one(), ...one(), { name: 'canny' }] }),
      'INVALID_REQUEST',
      'controls',
      /more than 2/
    ],
    [
      'three pictures of controls',
      () => ({ controls: [...one(), ...one(), ...one()] }),
      'INVALID_REQUEST',
      'controls',
      /at most 2 pictures/
    ],
    [
      'a control without a picture',
      () => ({ controls: [{ name: 'canny' }] }),
      'INVALID_REQUEST',
      'controls',
      /controls\[0\]\.image must be sent: the picture/
    ],
    [
      'a start that is not before the end',
      () => ({ controls: one({ control_guidance_start: 0.5, control_guidance_end: 0.5 }) }),
      'INVALID_REQUEST',
      'controls',
      /must be less than control_guidance_end, 0.5/
    ],
    [
      'a threshold without canny',
      () => ({ controls: one({ low_threshold: 5 }) }),
      'INVALID_REQUEST',
      'controls',
      /low_threshold is for the preprocessor canny/
    ],
    [
      'a threshold beyond all gradients',
      () => ({ controls: one({ preprocessor: 'canny', low_threshold: 2041 }) }),
      'INVALID_REQUEST',
      'controls',
      /<= 2040/
    ],
    [
      'an unknown preprocessor',
      () => ({ controls: one({ preprocessor: 'depth' }) }),
      'INVALID_REQUEST',
      'controls',
      /preprocessor must be one of none, canny, lineart/
    ],
    [
      'too large a scale',
      () => ({ controls: one({ controlnet_conditioning_scale: 10.5 }) }),
      'INVALID_REQUEST',
      'controls',
      /<= 10/
    ],
    [
      'what is no picture',
      () => ({ controls: one({ image: base64(Buffer.from('GIF89a'.padEnd(40))) }) }),
      'INVALID_PICTURE',
      'controls[0].image',
      /has the format GIF/
    ],
    [
      'what is not base64',
      () => ({ ip_adapters: [{ name: 'plus', image: '???' }] }),
      'INVALID_REQUEST',
      'ip_adapters[0].image',
      /is not base64/
    ],
    [
      'a picture of too many pixels',
      () => ({ controls: one({ image: base64(bomb) }) }),
      'LIMIT_EXCEEDED',
      'controls[0].image',
      /has 20000x10000 pixels/
    ],
    [
      'an unknown field',
      () => ({ controls: one({ weight: 1 }) }),
      'INVALID_REQUEST',
      'weight',
      /"weight" is not a field/
    ]
  ])('refuses %s', async (_, fields, code, field, message) => {
    const refused = await refusal(await generate(server, body(fields())))
    expect(refused).toMatchObject({ code, field, message: expect.stringMatching(message) })
    await noFiles(server)
  })

  it('refuses a second picture for an entry, however its key is written', async () => {
    const text = `{"prompt":"a","controls":[{"name":"canny","image":"${base64(picture)}","im\\u0061ge":"${base64(other)}"}]}`
    const response = await fetch(`${server.url}/generate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: text
    })
    expect(await refusal(response)).toMatchObject({
      code: 'INVALID_REQUEST',
      field: 'controls[0].image',
      message: expect.stringMatching(/given more than once/)
    })
    await noFiles(server)
  })

  it.each<[string, object, Record<string, Buffer | Buffer[]>, RegExp]>([
    ['a file without an entry', {}, { control_image: picture }, /control_image needs an entry of controls/],
    [
      'more files than entries',
      { controls: [{ name: 'canny' }] },
      { control_image: [picture, other] },
      /needs an entry/
    ],
    [
      'fewer files than entries',
      { controls: [{ name: 'canny' }, { name: 'canny' }] },
      { control_image: picture },
      /controls\[1\]\.image must be sent/
    ],
    [
      'more files than any request has',
      { controls: [] },
      { control_image: [picture, picture, picture] },
      /at most 2 pictures/
    ],
    [
      'a picture in the text',
      { controls: [{ name: 'canny', image: base64(picture) }] },
      { control_image: picture },
      /controls\[0\]\.image must be left out in a form/
    ],
    [
      'a picture in the text alone',
      { controls: [{ name: 'canny', image: base64(picture) }] },
      {},
      /controls\[0\]\.image is not a picture: send the file/
    ],
    ['entries that are no list', { controls: 'canny' }, { control_image: picture }, /needs an entry/]
  ])('refuses a form with %s', async (_, fields, files, message) => {
    const refused = await refusal(await send(server, body(fields), files))
    expect(refused).toMatchObject({
      code: 'INVALID_REQUEST',
      field: 'controls',
      message: expect.stringMatching(message)
    })
    await noFiles(server)
  })

  it('refuses controls with padding_mask_crop', async () => {
    const fields = body({ controls: [{ name: 'canny' }], padding_mask_crop: 4 })
    const mask = await sharp(Buffer.alloc(own.width * own.height, 255), { raw: { ...own, channels: 1 } })
      .png()
      .toBuffer()
    const refused = await refusal(
      await send(server, fields, { image: other, mask_image: mask, control_image: picture })
    )
    expect(refused).toMatchObject({
      code: 'INVALID_REQUEST',
      field: 'controls',
      message: expect.stringMatching(/padding_mask_crop/)
    })
    await noFiles(server)
  })

  it('ends a request whose client leaves while its picture is preprocessed, and frees all', async () => {
    const leaving = new AbortController()
    const response = generate(server, body({ controls: one({ preprocessor: 'lineart' }) }), { signal: leaving.signal })
    leaving.abort()
    await expect(response).rejects.toThrow()
    await noFiles(server)
  })
})

describe('without folders', () => {
  it('names the option that the operator must set', async () => {
    const server = await startReadyServer()
    const image = base64(picture)
    expect(await refusal(await generate(server, body({ controls: [{ name: 'canny', image }] })))).toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      field: 'controls',
      message: expect.stringContaining('CONTROLNETS')
    })
    expect(await refusal(await generate(server, body({ ip_adapters: [{ name: 'plus', image }] })))).toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      field: 'ip_adapters',
      message: expect.stringContaining('IP_ADAPTERS')
    })
    expect(await (await fetch(`${server.url}/controls`)).json()).toEqual({ controls: [] })
    expect(await (await fetch(`${server.url}/ip-adapters`)).json()).toEqual({ ip_adapters: [] })
  })

  it('refuses pictures beyond the memory for them, by name', async () => {
    const server = await startReadyServer({
      MEMORY_BUDGET: String(16 * 2 ** 20),
      WORKER_ARGS: `--ip-adapters ${folder}/adapters --controlnets ${folder}/nets`
    })
    const fields = body({ ip_adapters: [{ name: 'plus', image: base64(picture) }] })
    expect(await refusal(await generate(server, fields))).toMatchObject({
      code: 'LIMIT_EXCEEDED',
      field: 'ip_adapters',
      message: expect.stringContaining('MEMORY_BUDGET')
    })
    const controls = [{ name: 'canny', image: base64(picture) }]
    expect((await generate(server, body({ controls }))).status).toBe(200)
    await noFiles(server)
  })
})
