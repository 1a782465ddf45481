import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readJson } from '../../src/uploads/json.js'
import { atMost, inPieces, pieceSizes, sha256, Taken } from './support.js'

const paths = { image: 'image', mask_image: 'mask_image', 'images.*.image_url': 'first', 'mask.image_url': 'mask' }

async function read(
  text: string | Buffer,
  { sizes = [11], maxText = 100_000 }: { sizes?: number[]; maxText?: number } = {}
) {
  const uploads = new Taken()
  const kept = await readJson(inPieces(Buffer.from(text), sizes), { paths, onText: atMost(maxText), uploads })
  return { kept: kept.toString(), files: uploads.files }
}

/** JSON as other programs write it: slashes, and any letter, may be escaped; spaces anywhere. */
const writers = fc.constantFrom<(value: unknown) => string>(
  (value) => JSON.stringify(value),
  (value) => JSON.stringify(value, null, 2),
  (value) => JSON.stringify(value).replaceAll('/', '\\/')
)

const picture = fc.uint8Array({ minLength: 1, maxLength: 200 })

describe('pictures in JSON', () => {
  it('are stored and replaced by their digests; everything else is passed on', async () => {
    const fields = fc.dictionary(
      fc
        .oneof(fc.string(), fc.constantFrom('images', 'mask', 'a.b', '__proto__', 'image_url'))
        .filter((name) => !['image', 'mask_image', 'images', 'mask'].includes(name)),
      fc.jsonValue({ maxDepth: 6 })
    )
    await fc.assert(
      fc.asyncProperty(
        fields,
        picture,
        picture,
        fc.boolean(),
        writers,
        pieceSizes,
        async (fields, a, b, first, write, sizes) => {
          const [image, mask_image] = [a, b].map((bytes) => Buffer.from(bytes).toString('base64'))
          const mine = { image, mask_image }
          const body = write(first ? { ...mine, ...fields } : { ...fields, ...mine })
          const { kept, files } = await read(body, { sizes })
          expect(JSON.parse(kept)).toEqual({ ...(JSON.parse(body) as object), image: sha256(a), mask_image: sha256(b) })
          expect([...files].map(([field, file]) => [field, sha256(file)])).toEqual([
            ['image', sha256(a)],
            ['mask_image', sha256(b)]
          ])
        }
      )
    )
  })

  it('are found in lists and objects, and only at their paths', async () => {
    const a = Buffer.from('a').toString('base64')
    const { kept, files } = await read(
      JSON.stringify({
        images: [{ image_url: a, image: 'x' }],
        mask: { image_url: `data:image/png;base64,${a}` },
        other: { image: 'not a picture' },
        deep: { images: [{ image_url: 'nor this' }] },
        'images.*': { image_url: 'nor this' },
        list: [['image', { image: '!' }]]
      })
    )
    expect([...files.keys()]).toEqual(['first', 'mask'])
    expect(JSON.parse(kept)).toMatchObject({
      images: [{ image_url: sha256(Buffer.from('a')), image: 'x' }],
      other: { image: 'not a picture' },
      list: [['image', { image: '!' }]]
    })
  })

  it('are found under a key with escapes', async () => {
    expect((await read('{"im\\u0061ge":"YQ=="}')).files.get('image')!.toString()).toBe('a')
  })

  it.each([
    ['a second one of a field', '{"image":"YQ==","image":"YQ=="}', 'INVALID_REQUEST'],
    ['a second one of a list', '{"images":[{"image_url":"YQ=="},{"image_url":"YQ=="}]}', 'INVALID_REQUEST'],
    ['an escape that base64 never has', '{"image":"Y\\u0051=="}', 'INVALID_REQUEST'],
    ['a text above the limit beside it', `{"image":"YQ==","prompt":"${'x'.repeat(2000)}"}`, 'BODY_TOO_LARGE']
  ])('refuses %s', async (_what, text, code) => {
    await expect(read(text, { maxText: 1000 })).rejects.toMatchObject({ code })
  })

  it('leaves a value that is no string to the schema', async () => {
    const text = '{"image":5,"mask_image":null,"images":[{"image_url":["x"]}]}'
    expect((await read(text)).kept).toBe(text)
  })

  it('passes any bytes on that hold no picture', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), pieceSizes, async (bytes, sizes) => {
        const kept = await readJson(inPieces(bytes, sizes), {
          paths: {},
          onText: () => undefined,
          uploads: new Taken()
        })
        expect(kept.equals(bytes)).toBe(true)
      })
    )
  })

  it('passes malformed JSON on without a failure of its own, or refuses a picture in it', async () => {
    const tokens = fc.array(
      fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '\\', '"image"', '"images"', '"image_url"', 'YQ==', ' ', '1'),
      { maxLength: 60 }
    )
    await fc.assert(
      fc.asyncProperty(tokens, pieceSizes, async (tokens, sizes) => {
        try {
          await read(tokens.join(''), { sizes })
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_REQUEST' })
        }
      })
    )
  })

  it('of a million brackets or commas takes no time or memory to speak of', async () => {
    for (const text of ['[', '{"a":', ',', '"', '\\"'])
      expect((await read(text.repeat(1e6), { sizes: [65_536], maxText: 1e7 })).files.size).toBe(0)
  })
})
