import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { PictureError } from '../../src/pictures/decode.js'
import { canny, lineart, type OpenCV } from '../../src/pictures/lines/lines.mjs'
import type { Pixels } from '../../src/pictures/pixels.js'
import { LineThreads } from '../../src/pictures/preprocess.js'

const threads = new LineThreads()

interface Golden {
  size: [width: number, height: number]
  rgb: string
  canny: { thresholds: [number, number]; edges: string }[]
  lineart: string
}

// Vitest wraps what it imports, and a promise cannot be wrapped.
const cv = await (createRequire(import.meta.url)('@techstark/opencv-js') as Promise<OpenCV>)

/** What OpenCV 4.12.0 gave. */
const GOLDEN = JSON.parse(readFileSync(new URL('golden/lines.json', import.meta.url), 'utf8')) as Golden[]
const CASES = GOLDEN.map((golden, index) => ({ ...golden, index, shown: golden.size.join('x') }))

function pictureOf({ size: [width, height], rgb }: Pick<Golden, 'size' | 'rgb'>): Pixels {
  return { width, height, channels: 3, data: Buffer.from(rgb, 'base64') }
}

/** Bits as 0 and 255, the highest of each byte first. */
function unpacked(bits: Buffer, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, i) => ((bits[i >> 3]! >> (7 - (i & 7))) & 1) * 255)
}

describe('canny', () => {
  it.each(CASES)('finds the edges that OpenCV finds, in picture $index of $shown', ({ canny: cases, ...golden }) => {
    const picture = pictureOf(golden)
    for (const { thresholds, edges } of cases) {
      const wanted = unpacked(Buffer.from(edges, 'base64'), picture.width * picture.height)
      expect(Buffer.from(canny(cv, picture, ...thresholds)).equals(wanted), thresholds.join()).toBe(true)
    }
  })

  it('finds edges and no edges in the golden pictures', () => {
    const shares = CASES[0]!.canny.map(({ edges }) => {
      const bits = unpacked(Buffer.from(edges, 'base64'), 64 * 48)
      return bits.filter(Boolean).length / bits.length
    })
    expect(Math.min(...shares)).toBeLessThan(0.05)
    expect(Math.max(...shares)).toBeGreaterThan(0.1)
  })
})

describe('lineart', () => {
  it.each(CASES)('draws what OpenCV draws, in picture $index of $shown', ({ lineart: lines, ...golden }) => {
    const [made, wanted] = [lineart(cv, pictureOf(golden)), Buffer.from(lines, 'base64')]
    expect(made.length).toBe(wanted.length)
    // Both add 32-bit numbers up, in another order, and then drop what is after the point.
    const differing = made.filter((value, i) => value !== wanted[i])
    expect(made.every((value, i) => Math.abs(value - wanted[i]!) <= 1)).toBe(true)
    expect(differing.length).toBeLessThanOrEqual(made.length / 1000)
  })

  it('is black for a picture of one colour', () => {
    const picture = { width: 40, height: 30, data: new Uint8Array(40 * 30 * 3).fill(77) }
    expect(Math.max(...lineart(cv, picture))).toBe(0)
  })
})

describe('preprocessed', () => {
  const anyPicture = fc
    .record({ width: fc.integer({ min: 1, max: 24 }), height: fc.integer({ min: 1, max: 24 }) })
    .chain(({ width, height }) =>
      fc
        .uint8Array({ minLength: width * height * 3, maxLength: width * height * 3 })
        .map((data): Pixels => ({ width, height, channels: 3, data: Buffer.from(data) }))
    )
  const anyPreprocessor = fc.oneof(
    fc.constant({ name: 'lineart' as const }),
    fc.record({
      name: fc.constant('canny' as const),
      low: fc.double({ min: 0, max: 2040, noNaN: true }),
      high: fc.double({ min: 0, max: 2040, noNaN: true })
    })
  )

  it('gives the lines as grey RGB of the same size, and leaves the picture as it is', async () => {
    await fc.assert(
      fc.asyncProperty(anyPicture, anyPreprocessor, async (picture, preprocessor) => {
        const before = Buffer.from(picture.data)
        const made = await threads.preprocessed(picture, preprocessor, { seconds: 60 })
        const lines =
          preprocessor.name === 'canny' ? canny(cv, picture, preprocessor.low, preprocessor.high) : lineart(cv, picture)
        expect([made.width, made.height, made.channels]).toEqual([picture.width, picture.height, 3])
        expect(made.data.equals(Buffer.from([...lines].flatMap((value) => [value, value, value])))).toBe(true)
        expect(picture.data.equals(before)).toBe(true)
      }),
      { numRuns: 8 }
    )
  })

  it('keeps one thread for the next picture, unless it had a large one or failed', async () => {
    const begun: unknown[] = []
    const count = (thread: unknown) => begun.push(thread)
    process.on('worker', count)
    onTestFinished(() => void process.off('worker', count))
    const own = new LineThreads()
    const [picture, lines] = [pictureOf(GOLDEN[0]!), { name: 'lineart' as const }]
    const draw = (one: Pixels, seconds = 60) => own.preprocessed(one, lines, { seconds })
    const first = await draw(picture)
    expect((await draw(picture)).data.equals(first.data)).toBe(true)
    expect(begun).toHaveLength(1)
    const both = await Promise.all([draw(picture), draw(picture)])
    for (const { data } of both) expect(data.equals(first.data)).toBe(true)
    expect(begun).toHaveLength(2)
    await draw(large)
    expect(begun).toHaveLength(2)
    await draw(picture)
    expect(begun).toHaveLength(3)
    await expect(draw(large, 0.001)).rejects.toThrow(PictureError)
    expect((await draw(picture)).data.equals(first.data)).toBe(true)
    expect(begun).toHaveLength(4)
  })

  it('adds nothing to a kept thread with each picture', async () => {
    const warnings: Error[] = []
    const note = (warning: Error) => warnings.push(warning)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    const picture: Pixels = { width: 8, height: 8, channels: 3, data: Buffer.alloc(192) }
    for (let index = 0; index < 12; index++)
      await threads.preprocessed(picture, { name: 'canny', low: 100, high: 200 }, { seconds: 60 })
    await new Promise((resolve) => setImmediate(resolve))
    expect(warnings.map(String)).toEqual([])
  })

  it('frees what a picture took, so that a kept thread does not grow', () => {
    const picture = { width: 512, height: 512, data: new Uint8Array(512 * 512 * 3).fill(9) }
    /** The bytes of OpenCV's memory. */
    const drawn = (times: number) => {
      for (let i = 0; i < times; i++) for (const draw of [canny, lineart]) draw(cv, picture, 100, 200)
      const mat = new cv.Mat(1, 1, cv.CV_8UC3)
      const { byteLength } = mat.data.buffer
      mat.delete()
      return byteLength
    }
    const before = drawn(2)
    expect(drawn(24)).toBe(before)
  })

  it('leaves a picture alone with none', async () => {
    const picture = pictureOf(GOLDEN[0]!)
    expect(await threads.preprocessed(picture, { name: 'none' }, { seconds: 60 })).toBe(picture)
  })

  /** Takes about a second. */
  const large: Pixels = { width: 2048, height: 2048, channels: 3, data: Buffer.alloc(2048 * 2048 * 3) }

  it('refuses a picture that takes too long, and stops', async () => {
    await expect(threads.preprocessed(large, { name: 'lineart' }, { seconds: 0.001 })).rejects.toThrow(
      new PictureError('slow', 'takes more than 0.001 s to draw lines of: send a smaller one')
    )
  })

  it('stops when the client leaves', async () => {
    const leaving = new AbortController()
    const made = threads.preprocessed(large, { name: 'lineart' }, { seconds: 60, signal: leaving.signal })
    leaving.abort(new Error('left'))
    await expect(made).rejects.toThrow('left')
    await expect(
      threads.preprocessed(large, { name: 'lineart' }, { seconds: 60, signal: leaving.signal })
    ).rejects.toThrow('left')
  })
})
