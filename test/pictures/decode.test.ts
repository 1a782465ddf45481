import { deflateSync } from 'node:zlib'
import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { decode, decodeAlpha, type DecodeLimits, PictureError, sizeOf } from '../../src/pictures/decode.js'
import { pngChunk } from '../support/image-files.js'
import { blackPng, drawn, rawPixels, rawPng } from '../support/pictures.js'

const limits: DecodeLimits = { maxPixels: 2 ** 20, seconds: 20 }
const size = { width: 40, height: 24 }

async function read(file: Buffer) {
  const shown = await sizeOf(file, limits)
  const pixels = await decode(file, limits)
  expect({ width: pixels.width, height: pixels.height }).toEqual(shown)
  expect(pixels.data.length).toBe(shown.width * shown.height * 3)
  return pixels
}

/** The problem with a file, at its header or at its pixels. */
async function problemOf(file: Buffer): Promise<string> {
  try {
    await sizeOf(file, limits)
    await decode(file, limits)
    return 'none'
  } catch (error) {
    if (!(error instanceof PictureError)) throw error
    expect(error.message).toMatch(/^[a-z][^\n]*$/)
    return error.problem
  }
}

describe('decoding', () => {
  it('keeps every pixel of a lossless file', async () => {
    for (const file of [await drawn(size).png().toBuffer(), await drawn(size).webp({ lossless: true }).toBuffer()])
      expect((await read(file)).data.equals(await drawn(size).raw().toBuffer())).toBe(true)
  })

  it('takes JPEG, progressive or not', async () => {
    const plain = await sharp(await drawn(size).jpeg({ quality: 95 }).toBuffer())
      .raw()
      .toBuffer()
    for (const progressive of [false, true]) {
      const { data } = await read(await drawn(size).jpeg({ quality: 95, progressive }).toBuffer())
      expect(Math.max(...data.map((value, i) => Math.abs(value - plain[i]!)))).toBeLessThan(8)
    }
  })

  it('drops alpha as diffusers does, and does not blend it', async () => {
    const file = await drawn(size, 4, (x, _y, channel) => (channel === 3 ? (x < 20 ? 0 : 77) : 100 + channel))
      .png()
      .toBuffer()
    expect((await read(file)).data.equals(rawPixels(size, 3, (_x, _y, channel) => 100 + channel))).toBe(true)
  })

  it('reads alpha where it is asked for', async () => {
    const file = await drawn(size, 4, (x, _y, channel) => (channel === 3 ? x : 9))
      .png()
      .toBuffer()
    expect((await decodeAlpha(file, limits)).data.equals(rawPixels(size, 1, (x) => x))).toBe(true)
    await expect(decodeAlpha(await drawn(size).png().toBuffer(), limits)).rejects.toMatchObject({
      problem: 'format',
      message: expect.stringMatching(/^has no transparency/)
    })
  })

  it.each([
    ['grey', 1],
    ['grey with alpha', 2]
  ] as const)('makes RGB of %s', async (_what, channels) => {
    const file = await drawn(size, channels, (x, _y, channel) => (channel === 1 ? 50 : x * 2))
      .png()
      .toBuffer()
    expect((await read(file)).data.equals(rawPixels(size, 3, (x) => x * 2))).toBe(true)
  })

  it('makes 8 bits of 16, of RGB and of grey', async () => {
    const samples = (channels: number) => {
      const row = Buffer.alloc(1 + 4 * channels * 2)
      for (let i = 0; i < 4 * channels; i++) row.writeUInt16BE(0x8000 + i * 0x101, 1 + 2 * i)
      return row
    }
    const four = { width: 4, height: 1, depth: 16 }
    expect([...(await read(rawPng({ ...four, colour: 2, data: samples(3) }))).data]).toEqual(
      Array.from({ length: 12 }, (_, i) => 128 + i)
    )
    expect([...(await read(rawPng({ ...four, colour: 0, data: samples(1) }))).data]).toEqual([
      128, 128, 128, 129, 129, 129, 130, 130, 130, 131, 131, 131
    ])
  })

  it('makes sRGB of CMYK', async () => {
    const file = await drawn(size, 3, () => 255)
      .toColourspace('cmyk')
      .jpeg()
      .toBuffer()
    expect((await sharp(file).metadata()).space).toBe('cmyk')
    const { data } = await read(file)
    expect(Math.min(...data)).toBeGreaterThan(245)
  })

  it('converts the colours of an ICC profile to sRGB, and ignores a broken profile', async () => {
    const red = (x: number, _y: number, channel: number) => (channel === 0 ? 200 : 100 + x * 0)
    const bare = rawPixels(size, 3, red)
    const profiled = await drawn(size, 3, red).withIccProfile('p3').png().toBuffer()
    const stripped = await sharp(profiled, { ignoreIcc: true }).raw().toBuffer()
    expect(stripped.equals(bare)).toBe(false)
    const { data } = await read(profiled)
    expect(Math.max(...data.map((value, i) => Math.abs(value - bare[i]!)))).toBeLessThanOrEqual(2)
    const broken = pngChunk('iCCP', Buffer.concat([Buffer.from('x\0\0'), Buffer.alloc(60, 7)]))
    const odd = rawPng({ width: 2, height: 1, data: Buffer.from([0, 1, 2, 3, 4, 5, 6]), before: [broken] })
    expect([...(await read(odd)).data]).toEqual([1, 2, 3, 4, 5, 6])
  })

  it('turns a picture upright by its EXIF orientation', async () => {
    for (let orientation = 1; orientation <= 8; orientation++) {
      const file = await drawn(size).withMetadata({ orientation }).png().toBuffer()
      const pixels = await read(file)
      expect([pixels.width, pixels.height]).toEqual(orientation < 5 ? [40, 24] : [24, 40])
      const upright = await sharp(file).rotate().removeAlpha().raw().toBuffer()
      expect(pixels.data.equals(upright)).toBe(true)
    }
  })
})

describe('a file is refused', () => {
  it.each([
    [
      'a GIF',
      (): Promise<Buffer> => drawn(size).gif().toBuffer(),
      /^has the format GIF: send a PNG, JPEG or WebP file$/
    ],
    ['a TIFF', () => drawn(size).tiff().toBuffer(), /format TIFF/],
    ['an AVIF', () => drawn(size).avif().toBuffer(), /format AVIF/],
    ['an SVG', async () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), /format SVG/],
    ['XML', async () => Buffer.from('<?xml version="1.0"?><svg/>'), /XML/],
    ['text', async () => Buffer.from('hello, this is text'), /^is not a picture that this server reads/],
    ['nothing', async () => Buffer.alloc(0), /^is not a picture/]
  ] as const)('if it is %s, whatever its name', async (_what, make, message) => {
    await expect(sizeOf(await make(), limits)).rejects.toMatchObject({
      problem: 'format',
      message: expect.stringMatching(message)
    })
  })

  it('if it is animated: WebP and PNG', async () => {
    const frames = [
      await drawn(size).png().toBuffer(),
      await drawn(size, 3, () => 7)
        .png()
        .toBuffer()
    ]
    const webp = await sharp(frames, { join: { animated: true } })
      .webp({ loop: 0 })
      .toBuffer()
    expect(await problemOf(webp)).toBe('animated')
    const control = pngChunk('acTL', Buffer.from([0, 0, 0, 2, 0, 0, 0, 0]))
    const apng = rawPng({ width: 2, height: 1, data: Buffer.from([0, 1, 2, 3, 4, 5, 6]), before: [control] })
    expect(await problemOf(apng)).toBe('animated')
  })

  it('if it has a thousand times the chunks of a real one', async () => {
    const chunks = (count: number) => Array.from({ length: count }, () => pngChunk('tEXt', Buffer.from('a\0b')))
    const data = Buffer.from([0, 1, 2, 3, 4, 5, 6])
    expect(await problemOf(rawPng({ width: 2, height: 1, data, before: chunks(100) }))).toBe('none')
    expect(await problemOf(rawPng({ width: 2, height: 1, data, before: chunks(5001) }))).toBe('broken')
  })

  it('by its pixels, before any is decoded', async () => {
    // 2.7 GB of pixels in a file whose header says so; its data is short, which decoding would find first.
    const bomb = rawPng({ width: 30_000, height: 30_000, data: Buffer.alloc(2 ** 20) })
    expect(bomb.length).toBeLessThan(10_000)
    expect(await problemOf(bomb)).toBe('pixels')
    expect(await problemOf(blackPng({ width: 1025, height: 1024 }))).toBe('pixels')
    expect(await problemOf(blackPng({ width: 1024, height: 1024 }))).toBe('none')
    expect(
      await problemOf(
        await drawn({ width: 16_000, height: 100 }, 1, () => 0)
          .jpeg()
          .toBuffer()
      )
    ).toBe('pixels')
  })

  it('if it ends early, in every format, instead of becoming half grey', async () => {
    const files = [
      await drawn(size).png().toBuffer(),
      await drawn(size).jpeg().toBuffer(),
      await drawn(size).jpeg({ progressive: true }).toBuffer(),
      await drawn(size).webp().toBuffer(),
      await drawn(size).webp({ lossless: true }).toBuffer()
    ]
    for (const file of files)
      for (const share of [0.1, 0.3, 0.5, 0.7, 0.9])
        expect(await problemOf(file.subarray(0, Math.floor(file.length * share)))).not.toBe('none')
  })
})

it('a file with huge or broken metadata is read all the same', async () => {
  const garbage = Buffer.alloc(2 ** 20, 7)
  const bomb = deflateSync(Buffer.alloc(64 * 2 ** 20))
  const chunks = [
    pngChunk('tEXt', Buffer.concat([Buffer.from('Comment\0'), Buffer.alloc(4 * 2 ** 20, 97)])),
    pngChunk('zTXt', Buffer.concat([Buffer.from('x\0\0'), bomb])),
    pngChunk('iCCP', Buffer.concat([Buffer.from('x\0\0'), garbage])),
    pngChunk('iCCP', Buffer.concat([Buffer.from('x\0\0'), bomb])),
    pngChunk('eXIf', Buffer.concat([Buffer.from('MM\0*'), garbage]))
  ]
  for (const chunk of chunks) {
    const data = Buffer.from([0, 1, 2, 3, 4, 5, 6])
    expect([...(await read(rawPng({ width: 2, height: 1, data, before: [chunk] }))).data]).toEqual([1, 2, 3, 4, 5, 6])
  }
  const jpeg = await drawn(size).jpeg().toBuffer()
  const segment = (head: string) =>
    Buffer.concat([Buffer.from([0xff, 0xe1, 0xff, 0xff]), Buffer.from(head), Buffer.alloc(65_533 - head.length, 7)])
  const segments = Array.from({ length: 50 }, (_, i) =>
    segment(i % 2 === 0 ? 'Exif\0\0MM\0*' : 'ICC_PROFILE\0\u0001\u0002')
  )
  await read(Buffer.concat([jpeg.subarray(0, 2), ...segments, jpeg.subarray(2)]))
})

describe('any bytes', () => {
  it('are refused with one of our problems, or decoded whole', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        expect(await problemOf(Buffer.from(bytes))).not.toBe('none')
      })
    )
  })

  it('behind a real signature are refused, or decoded whole', async () => {
    const signatures = ['\x89PNG\r\n\x1a\n', '\xff\xd8\xff', 'RIFF\x20\0\0\0WEBP'].map((text) =>
      Buffer.from(text, 'latin1')
    )
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...signatures), fc.uint8Array({ maxLength: 300 }), async (start, bytes) => {
        expect(await problemOf(Buffer.concat([start, bytes]))).not.toBe('none')
      })
    )
  })

  it('in place of some of a real file give a picture of the declared size, or a refusal', async () => {
    const files = [
      await drawn(size).png().toBuffer(),
      await drawn(size).withMetadata({ orientation: 6 }).withIccProfile('p3').jpeg().toBuffer(),
      await drawn(size, 4).webp().toBuffer()
    ]
    const edits = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 20
    })
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), edits, async (file, changes) => {
        const mutant = Buffer.from(file)
        for (const [at, byte] of changes) mutant[Math.floor(at * (mutant.length - 1))] = byte
        if ((await problemOf(mutant)) === 'none') await read(mutant)
      }),
      { numRuns: 300 }
    )
  })
})
