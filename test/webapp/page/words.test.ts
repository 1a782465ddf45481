import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { curlCommand } from '../../../src/webapp/page/lib/curl.js'
import { duration, fileName, ordinal, ratioName } from '../../../src/webapp/page/lib/format.js'
import { randomSeed, uuid } from '../../../src/webapp/page/lib/random.js'

describe('words', () => {
  it.each([
    [0.2, 'less than a second'],
    [1, '1 s'],
    [59.4, '59 s'],
    [59.6, '1 min'],
    [125, '2 min 5 s'],
    [3600, '1 h'],
    [4200, '1 h 10 min']
  ])('formats %d seconds as %s', (seconds, words) => {
    expect(duration(seconds)).toBe(words)
  })

  it('formats ordinals', () => {
    expect([1, 2, 3, 4, 11, 12, 13, 21, 22, 103, 111].map(ordinal)).toEqual([
      '1st',
      '2nd',
      '3rd',
      '4th',
      '11th',
      '12th',
      '13th',
      '21st',
      '22nd',
      '103rd',
      '111th'
    ])
  })

  it.each([
    [1024, 1024, '1:1'],
    [1152, 896, '5:4'],
    [896, 1152, '4:5'],
    [1216, 832, '3:2'],
    [832, 1216, '2:3'],
    [1344, 768, '16:9'],
    [768, 1344, '9:16'],
    [1536, 640, '21:9'],
    [640, 1536, '9:21'],
    [640, 480, '4:3'],
    [2048, 256, '8:1'],
    [320, 1000, '1:3.1']
  ])('names the aspect ratio of %d×%d %s', (width, height, name) => {
    expect(ratioName(width, height)).toBe(name)
  })

  it('names files after their prompt and seed', () => {
    expect(fileName('A  red Circle, on blue!', 7, 'image/png')).toBe('a-red-circle-on-blue-7.png')
    expect(fileName('../../etc/passwd', 7, 'image/jpeg')).toBe('etc-passwd-7.jpg')
    expect(fileName('猫', undefined, 'image/webp')).toBe('picture.webp')
  })
})

describe('curlCommand', () => {
  it('is parsed by the shell into the intended arguments for any prompt', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (prompt) => {
        const request = { prompt, seed: 5 }
        // Print the shell's words, each ended by NUL, instead of running curl.
        const words = execFileSync(
          'sh',
          ['-c', curlCommand('http://localhost:8000/generate', request).replace(/^curl/, String.raw`printf '%s\0'`)],
          { encoding: 'utf8' }
        ).split('\0')
        expect(words[0]).toBe('-o')
        expect(words[2]).toBe('http://localhost:8000/generate')
        expect(JSON.parse(words.at(-2)!)).toEqual(JSON.parse(JSON.stringify(request)))
      }),
      { numRuns: 40 }
    )
  })
})

describe('random', () => {
  it("makes version 4 UUIDs, and seeds in the server's range", () => {
    expect(uuid()).toMatch(/^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
    expect(new Set(Array.from({ length: 100 }, uuid)).size).toBe(100)
    for (const seed of Array.from({ length: 100 }, randomSeed))
      expect(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32).toBe(true)
  })
})
