import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cropRegionOf } from '../../src/pictures/crop-region.js'
import { fitOf, RESIZE_MODES, type ResizeMode } from '../../src/pictures/fit.js'
import type { Pixels } from '../../src/pictures/pixels.js'
import { inverted, luminance, overlaid, resized, resizedMask } from '../../src/pictures/transform.js'
import { rawPixels } from '../support/pictures.js'

type Pair = [width: number, height: number]

/** What diffusers 0.42.1 and Pillow 13 gave. */
function golden<T>(name: string): T[] {
  return JSON.parse(readFileSync(new URL(`golden/${name}.json`, import.meta.url), 'utf8')) as T[]
}

const pixelsOf = ([width, height]: Pair, channels: 1 | 3, text: string): Pixels => ({
  width,
  height,
  channels,
  data: Buffer.from(text, 'base64')
})

const sizeOf = ([width, height]: Pair) => ({ width, height })

/** The share of bytes that differ by more than `by`. */
function differing(a: Buffer, b: Buffer, by: number): number {
  expect(a.length).toBe(b.length)
  return a.filter((value, i) => Math.abs(value - b[i]!) > by).length / a.length
}

const side = fc.integer({ min: 1, max: 3000 })
const anySize = fc.record({ width: side, height: side })

describe('fitting', () => {
  it('centres the whole picture in fill, covers the target in crop, and is the target in default', () => {
    fc.assert(
      fc.property(anySize, anySize, fc.constantFrom(...RESIZE_MODES), (picture, target, mode) => {
        const { scaled, left, top } = fitOf(picture, target, mode)
        const rest = [target.width - scaled.width, target.height - scaled.height] as const
        if (mode === 'default') expect([left, top, ...rest]).toEqual([0, 0, 0, 0])
        for (const [start, more] of [
          [left, rest[0]],
          [top, rest[1]]
        ] as const) {
          if (mode === 'fill') expect(more).toBeGreaterThanOrEqual(0)
          if (mode === 'crop') expect(more).toBeLessThanOrEqual(0)
          expect(Math.abs(start - more / 2)).toBeLessThanOrEqual(1)
          // Nothing outside the scaled picture is asked for.
          if (mode === 'crop') expect(-start).toBeLessThanOrEqual(-more)
        }
        if (mode !== 'default') expect(rest.includes(0)).toBe(true)
      })
    )
  })

  it("gives diffusers' pixels within the filters' differences", async () => {
    type Case = { picture: Pair; target: Pair; mode: ResizeMode; rgb: string; resized: string }
    for (const { picture, target, mode, rgb, resized: expected } of golden<Case>('resized')) {
      const { data } = await resized(pixelsOf(picture, 3, rgb), sizeOf(target), mode)
      const reference = Buffer.from(expected, 'base64')
      expect(differing(data, reference, 3), `${picture.join('x')} to ${target.join('x')}, ${mode}`).toBe(0)
    }
  })

  it("gives diffusers' masks but for a few pixels at edges", async () => {
    type Case = { picture: Pair; target: Pair; mode: ResizeMode; rgb: string; mask: string }
    for (const { picture, target, mode, rgb, mask } of golden<Case>('masks')) {
      const { data } = await resizedMask(await luminance(pixelsOf(picture, 3, rgb)), sizeOf(target), mode)
      expect(new Set(data)).toEqual(new Set([0, 255]))
      expect(differing(data, Buffer.from(mask, 'base64'), 0), `${picture} → ${target} ${mode}`).toBeLessThan(0.005)
    }
  })

  it('repeats the edge in the border of fill', async () => {
    const picture = {
      width: 4,
      height: 2,
      channels: 3 as const,
      data: rawPixels({ width: 4, height: 2 }, 3, (_x, y) => y * 200)
    }
    const { data } = await resized(picture, { width: 4, height: 8 }, 'fill')
    expect([...data].filter((_, i) => i % 12 === 0)).toEqual([0, 0, 0, 0, 200, 200, 200, 200])
  })

  it('repaints from a luminance of 128 on', async () => {
    const mask = {
      width: 256,
      height: 1,
      channels: 1 as const,
      data: rawPixels({ width: 256, height: 1 }, 1, (x) => x)
    }
    const { data } = await resizedMask(mask, { width: 256, height: 1 }, 'default')
    expect(data.equals(rawPixels({ width: 256, height: 1 }, 1, (x) => (x < 128 ? 0 : 255)))).toBe(true)
    const dark = await resizedMask(await inverted(mask), { width: 256, height: 1 }, 'default')
    expect(dark.data.equals(rawPixels({ width: 256, height: 1 }, 1, (x) => (x < 128 ? 255 : 0)))).toBe(true)
  })
})

describe('the region of a mask', () => {
  const maskOf = ([width, height]: Pair, [x0, y0, x1, y1]: readonly number[]): Pixels => ({
    width,
    height,
    channels: 1,
    data: rawPixels({ width, height }, 1, (x, y) => (x >= x0! && x < x1! && y >= y0! && y < y1! ? 1 : 0))
  })

  it("is diffusers'", () => {
    type Case = { mask: Pair; white: number[]; target: Pair; padding: number; region: number[] }
    for (const { mask, white, target, padding, region } of golden<Case>('crop-regions')) {
      const found = cropRegionOf(maskOf(mask, white), sizeOf(target), padding)!
      const { left, top, width, height } = found
      expect([left, top, left + width, top + height], JSON.stringify({ mask, white, target, padding })).toEqual(region)
    }
  })

  it('is inside the picture and around the mask; there is none for a black one', () => {
    const small = fc.record({ width: fc.integer({ min: 1, max: 40 }), height: fc.integer({ min: 1, max: 40 }) })
    fc.assert(
      fc.property(
        small,
        fc.array(fc.nat(), { maxLength: 5 }),
        anySize,
        fc.nat({ max: 50 }),
        (size, dots, target, padding) => {
          const data = Buffer.alloc(size.width * size.height)
          for (const dot of dots) data[dot % data.length] = 1
          const region = cropRegionOf({ ...size, channels: 1, data }, target, padding)
          if (dots.length === 0) {
            expect(region).toBeUndefined()
            return
          }
          const { left, top, width, height } = region!
          expect(Math.min(left, top, width - 1, height - 1)).toBeGreaterThanOrEqual(0)
          expect([left + width <= size.width, top + height <= size.height]).toEqual([true, true])
          for (const dot of dots) {
            const [x, y] = [(dot % data.length) % size.width, Math.floor((dot % data.length) / size.width)]
            expect([x >= left, x < left + width, y >= top, y < top + height]).toEqual([true, true, true, true])
          }
        }
      )
    )
  })
})

it("puts an image back into its region, as diffusers' apply_overlay", async () => {
  type Case = {
    picture: Pair
    made: Pair
    region: number[]
    original: string
    mask: string
    image: string
    overlaid: string
  }
  for (const { picture, made, region, original, mask, image, overlaid: expected } of golden<Case>('overlaid')) {
    const [left, top, right, bottom] = region as [number, number, number, number]
    const { data } = await overlaid(
      pixelsOf(made, 3, image),
      pixelsOf(picture, 3, original),
      pixelsOf(picture, 1, mask),
      {
        left,
        top,
        width: right - left,
        height: bottom - top
      }
    )
    const reference = Buffer.from(expected, 'base64')
    expect(differing(data, reference, 3), picture.join('x')).toBe(0)
    // What the mask keeps is the original to the bit.
    const [source, kept] = [Buffer.from(original, 'base64'), Buffer.from(mask, 'base64')]
    for (const [at, value] of kept.entries())
      if (value === 0) expect(data.subarray(3 * at, 3 * at + 3).equals(source.subarray(3 * at, 3 * at + 3))).toBe(true)
  }
})
