import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { LineThreads } from '../../src/pictures/preprocess.js'
import type { Preprocessor } from '../../src/pictures/preprocessors.js'
import { resized } from '../../src/pictures/transform.js'
import { drawn, rawPixels, rawPng } from '../support/pictures.js'
import { metric, openServer, type RunningServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const threads = new LineThreads()

const own = { width: 150, height: 80 }
const drawing = rawPixels(own, 3, (x, y, channel) => (x % 40 < 3 || y % 30 < 3 ? 20 : 120 + channel * 30))

let server: RunningServer
let picture: Buffer

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-control-preview-'))
  await mkdir(join(folder, 'nets'))
  await writeFile(join(folder, 'nets/canny.safetensors'), 'edges')
  picture = await sharp(drawing, { raw: { ...own, channels: 3 } })
    .png()
    .toBuffer()
  const { server: opened, stop } = await openServer({
    WORKER_ARGS: `--sizes 64x64,96x128 --controlnets ${folder}/nets`
  })
  server = opened
  await server.pool.firstReady
  return async () => {
    await stop()
    await rm(folder, { recursive: true })
  }
})

function send(to: RunningServer, fields: object, image?: Buffer, init: RequestInit = {}): Promise<Response> {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields)) form.set(name, String(value))
  if (image !== undefined) form.set('image', new Blob([new Uint8Array(image)]), 'a.png')
  return fetch(`${to.url}/controls/preview`, { method: 'POST', body: form, ...init })
}

async function pixelsOf(response: Response): Promise<Buffer> {
  expect(response.status, await response.clone().text()).toBe(200)
  expect(response.headers.get('content-type')).toBe('image/png')
  return sharp(Buffer.from(await response.arrayBuffer()))
    .raw()
    .toBuffer()
}

const nothingHeld = () =>
  until('no picture is on the disk or in memory', async () => {
    const files = await metric(server, 'easel_picture_files')
    return files === 0 && (await metric(server, 'easel_memory_bytes', 'part="inputs"')) === 0
  })

describe('POST /controls/preview', () => {
  it.each([
    [{}, { name: 'none' }, { width: 64, height: 64 }],
    [{ preprocessor: 'canny' }, { name: 'canny', low: 100, high: 200 }, { width: 64, height: 64 }],
    [
      { preprocessor: 'canny', low_threshold: 10, high_threshold: 20.5, width: 96, height: 128 },
      { name: 'canny', low: 10, high: 20.5 },
      { width: 96, height: 128 }
    ],
    [{ preprocessor: 'lineart', resize_mode: 'fill' }, { name: 'lineart' }, { width: 64, height: 64 }]
  ] as [{ resize_mode?: 'fill' }, Preprocessor, { width: number; height: number }][])(
    'draws with %j what a worker gets, at the size of the image',
    async (fields, meant, size) => {
      const fitting = await resized({ ...own, channels: 3, data: drawing }, size, fields.resize_mode ?? 'default')
      const wanted = await threads.preprocessed(fitting, meant, { seconds: 60 })
      expect((await pixelsOf(await send(server, fields, picture))).equals(wanted.data)).toBe(true)
      const json = await fetch(`${server.url}/controls/preview`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...fields, image: picture.toString('base64') })
      })
      expect((await pixelsOf(json)).equals(wanted.data)).toBe(true)
      await nothingHeld()
    }
  )

  it.each([
    ['no picture', {}, undefined, 'INVALID_REQUEST', 'image'],
    ['a file that is none', {}, Buffer.from('GIF89a'.padEnd(50)), 'INVALID_PICTURE', 'image'],
    [
      'too many pixels',
      {},
      rawPng({ width: 20_000, height: 10_000, data: Buffer.alloc(0) }),
      'LIMIT_EXCEEDED',
      'image'
    ],
    ['a size that is not offered', { width: 72 }, undefined, 'UNSUPPORTED_SIZE', 'width'],
    ['a threshold without canny', { low_threshold: 5 }, undefined, 'INVALID_REQUEST', 'low_threshold'],
    ['an unknown preprocessor', { preprocessor: 'depth' }, undefined, 'INVALID_REQUEST', 'preprocessor'],
    ['an unknown field', { prompt: 'a fox' }, undefined, 'INVALID_REQUEST', 'prompt'],
    ['an unknown model', { model: 'other' }, undefined, 'MODEL_NOT_FOUND', 'model']
  ])('refuses %s', async (name, fields, file, code, field) => {
    const image = name === 'no picture' ? undefined : (file ?? picture)
    expect(await (await send(server, fields, image)).json()).toMatchObject({ code, field })
    await nothingHeld()
  })

  it('is refused where the model has no nets', async () => {
    const plain = await startReadyServer()
    const image = await drawn(own).png().toBuffer()
    const refused = await send(plain, {}, image)
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      message: 'controls cannot be previewed: this server has no ControlNets; its operator sets CONTROLNETS'
    })
  })

  it('stops when the client leaves, and frees all', async () => {
    const leaving = new AbortController()
    const asked = send(server, { preprocessor: 'lineart' }, picture, { signal: leaving.signal })
    leaving.abort()
    await expect(asked).rejects.toThrow()
    await nothingHeld()
  })
})
