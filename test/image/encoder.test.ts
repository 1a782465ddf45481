import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { ImageEncoder } from '../../src/image/encoder.js'
import { FORMATS } from '../../src/image/formats.js'
import { parametersText } from '../../src/image/parameters.js'
import { type Recipe, recipeHeader } from '../../src/image/recipe.js'
import { recipeTextOf } from '../../src/image/xmp.js'

const recipes: fc.Arbitrary<Recipe> = fc.record({
  prompt: fc.string({ unit: 'grapheme', maxLength: 4000 }),
  negative_prompt: fc.string({ unit: 'grapheme', maxLength: 50 }),
  seed: fc.nat(),
  num_inference_steps: fc.integer({ min: 1, max: 50 }),
  guidance_scale: fc.float({ min: 0, max: 100, noNaN: true }),
  scheduler: fc.constantFrom('euler', 'ddim'),
  width: fc.constant(3),
  height: fc.constant(2),
  output_format: fc.constantFrom(...FORMATS),
  model: fc.constant('sdxl'),
  model_digest: fc.constant('0123456789abcdef'),
  version: fc.constant('0.1.0')
})

const pixels = fc.uint8Array({ minLength: 18, maxLength: 18 })
const size = { width: 3, height: 2 }

describe('ImageEncoder', () => {
  it('keeps every pixel of a PNG and the whole recipe, with any prompt', async () => {
    await fc.assert(
      fc.asyncProperty(recipes, pixels, fc.integer({ min: 0, max: 9 }), async (recipe, pixels, pngCompression) => {
        const encoder = new ImageEncoder({ pngCompression, concurrency: 2 })
        const image = sharp(await encoder.encode({ ...size, pixels }, { format: 'png', quality: 90, recipe }))
        expect([...(await image.raw().toBuffer())]).toEqual([...pixels])
        const { comments } = await image.metadata()
        const text = (keyword: string) => comments?.find((comment) => comment.keyword === keyword)?.text
        expect(JSON.parse(text('easel')!)).toEqual(JSON.parse(JSON.stringify(recipe)))
        if (!parametersText(recipe).includes('\0')) expect(text('parameters')).toBe(parametersText(recipe))
      }),
      { numRuns: 50 }
    )
  })

  it.each(['jpeg', 'webp'] as const)(
    'puts the whole recipe into the XMP of a %s, and what viewers show into its EXIF, in every script',
    async (format) => {
      const encoder = new ImageEncoder({ pngCompression: 1, concurrency: 1 })
      await fc.assert(
        fc.asyncProperty(recipes, pixels, fc.integer({ min: 1, max: 100 }), async (recipe, pixels, quality) => {
          const file = await encoder.encode({ ...size, pixels }, { format, quality, recipe })
          const { format: made, width, height, xmp, exif } = await sharp(file).metadata()
          expect({ format: made, width, height }).toEqual({ format, width: 3, height: 2 })
          expect(JSON.parse(recipeTextOf(xmp!.toString())!)).toEqual(JSON.parse(JSON.stringify(recipe)))
          expect(exif!.toString('latin1')).toContain('easel 0.1.0')
          const comment = exif!.subarray(exif!.indexOf('UNICODE\0') + 8)
          expect(
            Buffer.from(comment.subarray(0, comment.length - (comment.length % 2)))
              .swap16()
              .toString('utf16le')
              .startsWith(parametersText(recipe))
          ).toBe(true)
        }),
        { numRuns: 30 }
      )
    }
  )

  it.each(FORMATS)('writes no metadata about the picture into a %s without a recipe', async (format) => {
    const encoder = new ImageEncoder({ pngCompression: 1, concurrency: 1 })
    const file = await encoder.encode(
      { ...size, pixels: new Uint8Array(18) },
      { format, quality: 90, recipe: undefined }
    )
    const { comments, xmp, exif } = await sharp(file).metadata()
    expect({ comments, xmp, exif }).toEqual({ comments: undefined, xmp: undefined, exif: undefined })
  })

  it('declares sRGB and no resolution', async () => {
    const encoder = new ImageEncoder({ pngCompression: 1, concurrency: 1 })
    const file = await encoder.encode(
      { ...size, pixels: new Uint8Array(18) },
      { format: 'png', quality: 90, recipe: undefined }
    )
    const chunks: string[] = []
    for (let at = 8; at < file.length; at += 12 + file.readUInt32BE(at))
      chunks.push(file.toString('latin1', at + 4, at + 8))
    expect(chunks).toEqual(['IHDR', 'sRGB', 'IDAT', 'IEND'])
    expect((await sharp(file).metadata()).space).toBe('srgb')
  })

  it('compresses a grainy PNG to much less than its pixels', async () => {
    const pixels = Uint8Array.from({ length: 128 * 128 * 3 }, (_, i) => (i >> 6) + (((i * i) >> 5) & 3))
    const encoder = new ImageEncoder({ pngCompression: 7, concurrency: 1 })
    const file = await encoder.encode(
      { width: 128, height: 128, pixels },
      { format: 'png', quality: 90, recipe: undefined }
    )
    const unfiltered = await sharp(pixels, { raw: { width: 128, height: 128, channels: 3 } })
      .png({ compressionLevel: 7 })
      .toBuffer()
    expect(file.length).toBeLessThan(unfiltered.length)
    expect(file.length).toBeLessThan(pixels.length / 2)
  })

  it('makes larger files at higher quality', async () => {
    const encoder = new ImageEncoder({ pngCompression: 1, concurrency: 1 })
    const noise = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * i * 31) >> 3)
    const bytes = async (format: 'jpeg' | 'webp', quality: number) =>
      (await encoder.encode({ width: 64, height: 64, pixels: noise }, { format, quality, recipe: undefined })).length
    for (const format of ['jpeg', 'webp'] as const)
      expect(await bytes(format, 95)).toBeGreaterThan(await bytes(format, 30))
  })

  it('does not start a file whose signal has fired', async () => {
    const encoder = new ImageEncoder({ pngCompression: 1, concurrency: 1 })
    const settings = { format: 'png', quality: 90, recipe: undefined } as const
    const big = { width: 512, height: 512, pixels: new Uint8Array(512 * 512 * 3) }
    const controller = new AbortController()
    const first = encoder.encode(big, settings)
    const second = encoder.encode(big, settings, controller.signal)
    controller.abort(new Error('left'))
    await expect(second).rejects.toThrow('left')
    expect((await first).length).toBeGreaterThan(0)
  })
})

describe('recipeHeader', () => {
  it('is printable ASCII JSON, short enough for any proxy', () => {
    fc.assert(
      fc.property(recipes, (recipe) => {
        const header = recipeHeader(recipe)
        expect(header).toMatch(/^[ -~]*$/)
        expect(header.length).toBeLessThanOrEqual(4096)
        expect(recipe).toMatchObject(JSON.parse(header) as object)
      })
    )
  })
})
