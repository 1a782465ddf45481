import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import type { Recipe } from '../../src/image/recipe.js'
import { python } from '../../tools/setup.mjs'
import { rawPixels } from '../support/pictures.js'
import { recipePicture } from '../support/recipe-picture.js'
import { type RunningServer, shareServer } from '../support/server.js'

const CLIENT = join(packageRoot, 'test/support/openai_client.py')
const BATCH_CLIENT = join(packageRoot, 'test/support/openai_batch_client.py')
const SIZE = { width: 64, height: 64 }
const pixels = rawPixels(SIZE, 3, (x, y, channel) => (x * 3 + y * 2 + channel * 50) & 255)
const holes = rawPixels(SIZE, 4, (x, _y, channel) => (channel === 3 ? (x < 20 ? 0 : 255) : 9))
const maskPixels = rawPixels(SIZE, 1, (x) => (x < 20 ? 255 : 0))

let server: RunningServer
shareServer((ready) => (server = ready), { WORKER_ARGS: '--sizes 64x64 --fake-step-ms 1' })

interface Images {
  data: { b64_json: string | null }[]
  size: string
}

async function read(image: Images['data'][number]) {
  const bytes = Buffer.from(image.b64_json!, 'base64')
  const { comments } = await sharp(bytes).metadata()
  return {
    recipe: JSON.parse(comments!.find(({ keyword }) => keyword === 'easel')!.text) as Recipe,
    pixels: await sharp(bytes).removeAlpha().raw().toBuffer()
  }
}

/** The image's pixels are those of its recipe. */
async function expectMade(
  image: Images['data'][number],
  expected: object,
  frames: Parameters<typeof recipePicture>[2]
) {
  const { recipe, pixels: found } = await read(image)
  expect(recipe).toMatchObject({ num_inference_steps: 4, ...expected })
  expect(found.equals(recipePicture(recipe, '', frames))).toBe(true)
}

describe("OpenAI's official Python client", () => {
  let answers: unknown[]
  beforeAll(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-openai-'))
    const file = async (name: string, data: Buffer, channels: 3 | 4) => {
      const path = join(folder, name)
      await writeFile(
        path,
        await sharp(data, { raw: { ...SIZE, channels } })
          .png()
          .toBuffer()
      )
      return path
    }
    const files = [await file('image.png', pixels, 3), await file('mask.png', holes, 4)]
    const { stdout } = await promisify(execFile)(python, [CLIENT, `${server.url}/v1`, ...files], {
      maxBuffer: 64 * 2 ** 20
    })
    await rm(folder, { recursive: true })
    answers = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown)
  }, 120_000)

  it('makes images', async () => {
    const { data, size } = answers[0] as Images
    expect([data.length, size]).toEqual([2, '64x64'])
    await expectMade(data[0]!, { prompt: 'a lighthouse', seed: 5 }, [])
    await expectMade(data[1]!, { prompt: 'a lighthouse', seed: 6 }, [])
  })

  it('streams partial images and the image', async () => {
    const events = answers.slice(1, 4) as { type: string; b64_json: string }[]
    expect(events.map(({ type }) => type)).toEqual([
      'image_generation.partial_image',
      'image_generation.partial_image',
      'image_generation.completed'
    ])
    await expectMade({ b64_json: events[2]!.b64_json }, { num_inference_steps: 20, seed: 5 }, [])
  })

  it('edits with and without a mask', async () => {
    const [masked, whole] = answers.slice(4, 6) as [Images, Images]
    const image = { role: 'image' as const, pixels }
    const mask = { role: 'mask' as const, pixels: maskPixels }
    await expectMade(masked.data[0]!, { prompt: 'a boat', mask_from: 'transparent' }, [image, mask])
    await expectMade(whole.data[0]!, { prompt: 'a boat', strength: 0.5 }, [image])
  })

  it('varies an image, and reads what was wrong with a request', async () => {
    const [varied, error] = answers.slice(6) as [Images, { status: number; error: object }]
    await expectMade(varied.data[0]!, { strength: 0.6 }, [{ role: 'image', pixels }])
    expect(error).toMatchObject({ status: 400, error: { param: 'num_inference_steps' } })
    expect(answers).toHaveLength(8)
  })
})

it("OpenAI's official Python client makes batches, reads, lists, cancels and deletes them", async () => {
  const { stdout } = await promisify(execFile)(python, [BATCH_CLIENT, `${server.url}/v1`], { maxBuffer: 64 * 2 ** 20 })
  const answers = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)
  const [batch, { output }, cancelled, { batches }, { files }, deleted, failed, error] = answers as [
    { id: string; output_file_id: string },
    { output: string },
    { id: string },
    { batches: string[] },
    { files: string[] },
    object,
    object,
    object
  ]
  expect(answers).toHaveLength(8)
  expect(batch).toMatchObject({
    object: 'batch',
    status: 'completed',
    metadata: { made: 'by a test' },
    request_counts: { total: 5, completed: 5, failed: 0 }
  })
  const made = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { custom_id: string; response: { body: Images } })
  expect(made.map(({ custom_id }) => custom_id)).toEqual([0, 1, 2, 3, 4].map((index) => `request-${index}`))
  const { recipe, pixels: found } = await read(made[3]!.response.body.data[0]!)
  expect(recipe).toMatchObject({ prompt: 'picture 3', seed: 3, num_inference_steps: 2 })
  expect(found.equals(recipePicture(recipe, '', []))).toBe(true)
  expect(cancelled).toMatchObject({ status: 'cancelled' })
  expect(batches).toEqual([cancelled.id, batch.id])
  expect(files.toSorted()).toEqual(expect.arrayContaining(['batch', 'batch_output']))
  expect(deleted).toEqual({ id: batch.output_file_id, object: 'file', deleted: true })
  expect(failed).toMatchObject({ status: 'failed', errors: { data: [{ line: 1, code: 'invalid_json_line' }] } })
  expect(error).toEqual({ status: 404, code: 'NOT_FOUND' })
}, 120_000)
