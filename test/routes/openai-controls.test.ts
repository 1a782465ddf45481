import OpenAI, { toFile } from 'openai'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Recipe } from '../../src/image/recipe.js'
import { openControlServer, painted } from '../support/controls.js'
import { drawn, rawPng } from '../support/pictures.js'
import { generate, metric, type RunningServer } from '../support/server.js'
import { until } from '../support/wait.js'

const SIZE = { width: 64, height: 64 }
const SETTINGS = { seed: 5, num_inference_steps: 4 }

let server: RunningServer
let client: OpenAI
let edges: Buffer
let depth: Buffer
let painting: Buffer

beforeAll(async () => {
  edges = await drawn({ width: 120, height: 80 }).png().toBuffer()
  depth = await drawn(SIZE, 3, (x) => x * 3)
    .png()
    .toBuffer()
  painting = await painted()
  const { server: opened, stop } = await openControlServer()
  server = opened
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  return stop
})

const CONTROLS = [
  { name: 'canny', preprocessor: 'canny', controlnet_conditioning_scale: 0.5 },
  { name: 'depth', control_guidance_end: 0.75 }
]
const IP_ADAPTERS = [{ name: 'plus', scale: 0.7 }]

const url = (bytes: Buffer) => `data:image/png;base64,${bytes.toString('base64')}`
/** The lists with their pictures, as JSON has them. */
const inJson = () => ({
  controls: [edges, depth].map((bytes, index) => ({ ...CONTROLS[index], image: url(bytes) })),
  ip_adapters: IP_ADAPTERS.map((entry) => ({ ...entry, image: painting.toString('base64') }))
})
/** The same as the client's parameters for a form. */
const inForm = async () => ({
  controls: JSON.stringify(CONTROLS),
  control_image: [await file(edges), await file(depth)],
  ip_adapters: JSON.stringify(IP_ADAPTERS),
  ip_adapter_image: await file(painting)
})

const file = (bytes: Buffer) => toFile(bytes, 'a.png', { type: 'image/png' })
const only = (response: OpenAI.ImagesResponse) => Buffer.from(response.data![0]!.b64_json!, 'base64')
const make = (params: object) =>
  client.images.generate({ prompt: 'a fox', ...SETTINGS, ...params } as OpenAI.ImageGenerateParamsNonStreaming)
const edit = (params: object) =>
  client.images.edit({ prompt: 'a fox', ...SETTINGS, ...params } as unknown as OpenAI.ImageEditParamsNonStreaming)

/** The file that POST /generate makes. */
async function made(fields: object): Promise<Buffer> {
  const response = await generate(server, { prompt: 'a fox', ...SETTINGS, ...SIZE, ...fields })
  expect(response.status, await response.clone().text()).toBe(200)
  return Buffer.from(await response.arrayBuffer())
}

async function recipeOf(image: Buffer): Promise<Recipe> {
  const { comments } = await sharp(image).metadata()
  return JSON.parse(comments!.find(({ keyword }) => keyword === 'easel')!.text) as Recipe
}

describe("the official client's controls and ip_adapters", () => {
  it('make the image that POST /generate makes', async () => {
    const image = only(await make(inJson()))
    expect(image.equals(await made(inJson()))).toBe(true)
    expect(await recipeOf(image)).toMatchObject({ controls: CONTROLS, ip_adapters: IP_ADAPTERS })
    expect(image.equals(await made({}))).toBe(false)
    await until('no picture is on the disk', async () => (await metric(server, 'easel_picture_files')) === 0)
  })

  it('go with a picture to edit, as files of a form', async () => {
    const image = only(await edit({ image: await file(depth), strength: 0.5, ...(await inForm()) }))
    expect(image.equals(await made({ ...inJson(), image: url(depth), strength: 0.5 }))).toBe(true)
    const one = { controls: JSON.stringify(CONTROLS.slice(0, 1)), control_image: await file(edges) }
    const single = only(await edit({ image: await file(depth), strength: 0.5, ...one }))
    const { controls } = inJson()
    expect(single.equals(await made({ controls: controls.slice(0, 1), image: url(depth), strength: 0.5 }))).toBe(true)
  })

  it('go with a picture to edit in JSON, and with a variation', async () => {
    const body = { prompt: 'a fox', ...SETTINGS, images: [{ image_url: url(depth) }], strength: 0.5, ...inJson() }
    const image = only(await client.post('/images/edits', { body }))
    expect(image.equals(await made({ ...inJson(), image: url(depth), strength: 0.5 }))).toBe(true)
    const variation = await client.images.createVariation({
      image: await file(depth),
      response_format: 'b64_json',
      ...SETTINGS,
      ...(await inForm())
    } as unknown as OpenAI.ImageCreateVariationParams)
    expect(await recipeOf(only(variation))).toMatchObject({ controls: CONTROLS, ip_adapters: IP_ADAPTERS })
  })

  it('are refused in the API’s form with the name of the field', async () => {
    const [first, second] = inJson().controls
    const huge = rawPng({ width: 20_000, height: 10_000, data: Buffer.alloc(0) })
    const refusals = [
      [
        () => make({ controls: [{ ...first, name: 'pose' }] }),
        'UNSUPPORTED_CONTROL',
        'controls',
        /there is no .*"pose"/
      ],
      [() => make({ controls: [first, second, first] }), 'INVALID_REQUEST', 'controls', /at most 2 pictures/],
      [
        () => make({ controls: [{ name: 'canny' }] }),
        'INVALID_REQUEST',
        'controls',
        /controls\[0\]\.image must be sent/
      ],
      [
        () => make({ controls: [{ ...first, image: url(huge) }] }),
        'LIMIT_EXCEEDED',
        'controls[0].image',
        /20000x10000 pixels/
      ],
      [
        async () => edit({ image: await file(depth), control_image: await file(edges) }),
        'INVALID_REQUEST',
        'controls',
        /send controls as JSON/
      ]
    ] as const
    for (const [refused, code, param, message] of refusals) {
      const error = await refused().catch((caught: unknown) => caught)
      expect(error).toBeInstanceOf(OpenAI.BadRequestError)
      expect(error).toMatchObject({ status: 400, code, param })
      expect((error as Error).message).toMatch(message)
    }
    await until('no picture is on the disk', async () => (await metric(server, 'easel_picture_files')) === 0)
  })
})
