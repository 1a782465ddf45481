import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { ByteReader } from '../../src/image/byte-reader.js'
import { ImageEncoder } from '../../src/image/encoder.js'
import { FORMATS } from '../../src/image/formats.js'
import { descriptionIn, MAX_RECIPE_BYTES, NotAnImage } from '../../src/image/metadata.js'
import type { Recipe } from '../../src/image/recipe.js'
import { MAX_PROMPT_LENGTH } from '../../src/parameters.js'
import { nested, pngChunk, pngWith, pngWithText, webpWithXmp } from '../support/image-files.js'

const recipe: Recipe = {
  prompt: '雪 <&> "é"',
  negative_prompt: '',
  seed: 1,
  num_inference_steps: 2,
  guidance_scale: 3,
  scheduler: 'euler',
  width: 16,
  height: 8,
  output_format: 'png',
  model: 'm',
  model_digest: 'd',
  version: '1'
}
const encoder = new ImageEncoder({ pngCompression: 6, concurrency: 1 })

/** A file as a stream of chunks, cycling through these sizes; counts the bytes read. */
function streamOf(file: Buffer, sizes: readonly number[] = [65_536]): { reader: ByteReader; read: () => number } {
  let at = 0
  async function* chunks(): AsyncGenerator<Buffer> {
    for (let turn = 0; at < file.length; turn++) {
      const end = at + sizes[turn % sizes.length]!
      const chunk = file.subarray(at, end)
      at = end
      yield chunk
    }
  }
  return { reader: new ByteReader(chunks()), read: () => at }
}

const textIn = async (file: Buffer, sizes?: readonly number[]) =>
  (await descriptionIn(streamOf(file, sizes).reader)).easel

describe('descriptionIn', () => {
  it.each(FORMATS)('finds what the encoder wrote into a %s, however the stream is chunked', async (format) => {
    const pixels = Buffer.alloc(16 * 8 * 3, 7)
    const file = await encoder.encode(
      { pixels, width: 16, height: 8 },
      { format, quality: 80, recipe: { ...recipe, output_format: format } }
    )
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 8 }), async (sizes) => {
        expect(JSON.parse((await textIn(file, sizes))!)).toEqual({ ...recipe, output_format: format })
      }),
      { numRuns: 30 }
    )
  })

  it.each(FORMATS)('finds the longest allowed prompts in a %s', async (format) => {
    // Characters that take the most bytes in JSON, XML and UTF-8, in this order.
    for (const letter of ['\u0001', '&', '雪', '"']) {
      const long = {
        ...recipe,
        prompt: letter.repeat(MAX_PROMPT_LENGTH),
        negative_prompt: letter.repeat(MAX_PROMPT_LENGTH)
      }
      const file = await encoder.encode(
        { pixels: Buffer.alloc(3), width: 1, height: 1 },
        { format, quality: 80, recipe: long }
      )
      expect(JSON.parse((await textIn(file))!)).toEqual(long)
      expect(await sharp(file).raw().toBuffer()).toHaveLength(3)
    }
  })

  it('rejects files other than PNG, JPEG and WebP, even if libvips could decode them', async () => {
    const picture = sharp({ create: { width: 4, height: 4, channels: 3, background: 'red' } })
    const others = [
      Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
      Buffer.from('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'),
      await picture.clone().gif().toBuffer(),
      await picture.clone().tiff().toBuffer(),
      await picture.clone().avif().toBuffer(),
      Buffer.from('%PDF-1.7 and more'),
      Buffer.from('short')
    ]
    for (const file of others) await expect(textIn(file)).rejects.toBeInstanceOf(NotAnImage)
  })

  it('ignores a text that inflates beyond MAX_RECIPE_BYTES', async () => {
    const bomb = pngWithText(nested(8_000_000))
    expect(bomb.length).toBeLessThan(100_000)
    expect(await textIn(bomb)).toBeUndefined()
    expect(await textIn(webpWithXmp(Buffer.alloc(MAX_RECIPE_BYTES + 1, '{')))).toBeUndefined()
    expect(
      await textIn(
        pngWith(pngChunk('iTXt', Buffer.concat([Buffer.from('easel\0\0\0\0\0'), Buffer.alloc(MAX_RECIPE_BYTES, '{')])))
      )
    ).toBeUndefined()
  })

  it('gives up after MAX_CHUNKS chunks', async () => {
    const tiny = Buffer.concat(Array.from({ length: 100_000 }, () => pngChunk('tEXt', Buffer.from('a'))))
    const { reader, read } = streamOf(pngWith(tiny))
    expect(await descriptionIn(reader)).toEqual({ format: 'png' })
    expect(read()).toBeLessThan(200_000)
  })

  it('terminates on any bytes, and never throws if they start like an image', async () => {
    const start = fc.constantFrom(
      Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
      Buffer.from('\xff\xd8\xff\xe1', 'latin1'),
      Buffer.from('RIFF\0\0\0\0WEBP', 'latin1')
    )
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.string({ maxLength: 50 }).map((text) => Buffer.from(`\0\0\0\u0020iTXteasel\0${text}`))
    )
    await fc.assert(
      fc.asyncProperty(start, bytes, async (signature, rest) => {
        const text = await textIn(Buffer.concat([signature, rest, Buffer.alloc(12)]))
        expect(text === undefined || typeof text === 'string').toBe(true)
      })
    )
  })
})
