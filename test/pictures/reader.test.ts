import { describe, expect, it } from 'vitest'
import type { PictureFile } from '../../src/pictures/reader.js'
import { PictureReader, type ReaderOptions } from '../../src/pictures/reader.js'
import { blackPng, drawn, rawPixels } from '../support/pictures.js'

const size = { width: 40, height: 24 }
const target = { width: 16, height: 16 }
const mode = 'default' as const
const maskMeaning = 'white' as const

function open(more: Partial<ReaderOptions> = {}) {
  const seen = { decoded: 0, refused: [] as string[] }
  const reader = new PictureReader({
    maxPixels: 10_000,
    seconds: 20,
    concurrency: 1,
    observer: {
      pictureDecoded: (seconds) => {
        expect(seconds).toBeGreaterThan(0)
        seen.decoded += 1
      },
      pictureRefused: (problem) => void seen.refused.push(problem)
    },
    ...more
  })
  return { reader, seen }
}

const file = (field: string, bytes: Buffer): PictureFile => ({ field, read: async () => bytes })
const choose = () => target

const white = (inside: (x: number, y: number) => boolean) => (x: number, y: number, channel: number) =>
  channel === 3 ? 255 : inside(x, y) ? 255 : 0

describe('PictureReader', () => {
  it('brings a picture and its mask to the size chosen for the picture', async () => {
    const { reader, seen } = open()
    const image = file('image', await drawn(size).png().toBuffer())
    const mask = file(
      'mask_image',
      await drawn(
        { width: 80, height: 80 },
        3,
        white((x) => x >= 40)
      )
        .png()
        .toBuffer()
    )
    const sizes: object[] = []
    const prepared = await reader.prepare(
      { image, mask, maskMeaning },
      { mode, choose: (picture) => (sizes.push(picture), target) }
    )
    expect(sizes).toEqual([size])
    expect(prepared.image).toMatchObject({ ...target, channels: 3 })
    expect(prepared.region).toBeUndefined()
    expect(prepared.mask!.data.equals(rawPixels(target, 1, (x) => (x >= 8 ? 255 : 0)))).toBe(true)
    expect(seen).toEqual({ decoded: 2, refused: [] })
  })

  it("reads OpenAI's masks: what is transparent is repainted", async () => {
    const { reader } = open()
    const image = file('image', await drawn(size).png().toBuffer())
    const hole = drawn(target, 4, (x, y, channel) => (channel === 3 && x < 4 && y < 4 ? 0 : 255))
    const prepared = await reader.prepare(
      { image, mask: file('mask', await hole.png().toBuffer()), maskMeaning: 'transparent' },
      { mode, choose }
    )
    expect(prepared.mask!.data.equals(rawPixels(target, 1, (x, y) => (x < 4 && y < 4 ? 255 : 0)))).toBe(true)
  })

  it('repaints what is black in a mask if asked to, and what is neither as in its opposite', async () => {
    const { reader } = open()
    const image = file('image', await drawn(size).png().toBuffer())
    const greys = drawn(target, 1, (x) => x * 16 + 7)
    const prepared = await reader.prepare(
      { image, mask: file('mask', await greys.png().toBuffer()), maskMeaning: 'black' },
      { mode, choose }
    )
    expect(prepared.mask!.data.equals(rawPixels(target, 1, (x) => (x * 16 + 7 < 128 ? 255 : 0)))).toBe(true)
  })

  it('crops to the mask with its padding, and puts the image back', async () => {
    const { reader } = open()
    const files = {
      image: file('image', await drawn(size).png().toBuffer()),
      mask: file(
        'mask_image',
        await drawn(
          size,
          3,
          white((x, y) => x >= 10 && x < 14 && y >= 10 && y < 14)
        )
          .png()
          .toBuffer()
      ),
      maskMeaning
    }
    const { image, mask, region } = await reader.prepare(files, { mode: 'fill', choose, padding: 2 })
    expect(region).toEqual({ left: 8, top: 8, width: 8, height: 8 })
    expect([image.width, image.height, mask!.width, mask!.height]).toEqual([16, 16, 16, 16])
    expect(mask!.data.filter((value) => value === 255)).toHaveLength(64)
    const painted = { ...target, channels: 3 as const, data: Buffer.alloc(16 * 16 * 3, 7) }
    const whole = await reader.overlay(painted, files, region!)
    const original = await drawn(size).raw().toBuffer()
    expect(whole).toMatchObject({ ...size, channels: 3 })
    for (let at = 0; at < size.width * size.height; at++) {
      const [x, y] = [at % size.width, Math.floor(at / size.width)]
      const inside = x >= 10 && x < 14 && y >= 10 && y < 14
      const pixel = whole.data.subarray(3 * at, 3 * at + 3)
      expect(pixel.equals(inside ? Buffer.from([7, 7, 7]) : original.subarray(3 * at, 3 * at + 3))).toBe(true)
    }
  })

  it.each([
    ['a black mask', blackPng(size), 'INVALID_PICTURE', /^mask_image is black/],
    ['a mask of another size', blackPng(target), 'INVALID_REQUEST', /^mask_image must have the size of image .*40x24/]
  ])('refuses to crop to %s', async (_what, mask, code, message) => {
    const { reader } = open()
    const files = { image: file('image', blackPng(size)), mask: file('mask_image', mask), maskMeaning }
    await expect(reader.prepare(files, { mode: 'fill', choose, padding: 2 })).rejects.toMatchObject({
      code,
      field: 'mask_image',
      message: expect.stringMatching(message)
    })
  })

  it('names the field and counts the reason of a refusal', async () => {
    const { reader, seen } = open()
    const good = file('image', blackPng(size))
    const failing = async (image: PictureFile, mask?: PictureFile) => {
      try {
        await reader.prepare({ image, mask, maskMeaning }, { mode, choose })
        return 'nothing'
      } catch (error) {
        const { code, field, message } = error as { code: string; field: string; message: string }
        expect(message.startsWith(`${field} `)).toBe(true)
        return `${code} ${field}`
      }
    }
    expect(await failing(file('image', Buffer.from('GIF89a')))).toBe('INVALID_PICTURE image')
    expect(await failing(good, file('mask_image', blackPng({ width: 101, height: 100 })))).toBe(
      'LIMIT_EXCEEDED mask_image'
    )
    expect(await failing(good, file('mask_image', blackPng(size).subarray(0, 50)))).toBe('INVALID_PICTURE mask_image')
    expect(seen.refused).toEqual(['format', 'pixels', 'broken'])
    // The header refuses before the other file is decoded.
    expect(seen.decoded).toBe(0)
  })

  it('does not let a client wait that has left, and asks nothing more of it', async () => {
    const { reader } = open()
    let go!: () => void
    const blocked = new Promise<void>((resolve) => (go = resolve))
    const slow = { field: 'image', read: async () => (await blocked, blackPng(size)) }
    const controller = new AbortController()
    let chosen = 0
    const chooses = () => ((chosen += 1), target)
    const running = reader.prepare({ image: slow, maskMeaning }, { mode, choose: chooses, signal: controller.signal })
    const waiting = reader.prepare({ image: slow, maskMeaning }, { mode, choose: chooses, signal: controller.signal })
    controller.abort(new Error('left'))
    for (const each of [running, waiting]) await expect(each).rejects.toThrow('left')
    go()
    await reader.prepare({ image: file('image', blackPng(size)), maskMeaning }, { mode, choose })
    expect(chosen).toBe(0)
  })

  it('decodes one at a time, and not for a client that has left', async () => {
    const { reader } = open()
    let [reading, most] = [0, 0]
    const slow = (): PictureFile => ({
      field: 'image',
      read: async () => {
        most = Math.max(most, (reading += 1))
        await new Promise(setImmediate)
        return blackPng(size)
      }
    })
    const chosen = () => {
      reading -= 1
      return target
    }
    const all = Array.from({ length: 8 }, () =>
      reader.prepare({ image: slow(), maskMeaning }, { mode, choose: chosen })
    )
    const controller = new AbortController()
    controller.abort(new Error('left'))
    const left = reader.prepare({ image: slow(), maskMeaning }, { mode, choose: chosen, signal: controller.signal })
    await expect(left).rejects.toThrow('left')
    await Promise.all(all)
    expect([reading, most]).toEqual([0, 1])
  })
})
