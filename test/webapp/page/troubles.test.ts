import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { packageRoot } from '../../../src/gateway-options.js'
import { catalogue, EaselError, errorBody } from '../../../src/errors.js'
import { MAX_PROMPT_LENGTH } from '../../../src/parameters.js'
import { NetworkError, ServerError } from '../../../src/webapp/page/api/errors.js'
import { count, sentence, short } from '../../../src/webapp/page/lib/text.js'
import { Since } from '../../../src/webapp/page/model/since.js'
import { targetOf } from '../../../src/webapp/page/view/roving.js'
import { describe as inWords, describeField, passes } from '../../../src/webapp/page/view/words.js'

const SENTENCES = /^(?:“|[A-Z0-9])[^]*[.!?]$/

describe('the message to a visitor', () => {
  const told = (code: keyof typeof catalogue, message = 'RuntimeError: tests may have 1 requests (MEMORY_BUDGET)') =>
    inWords(new ServerError(errorBody(new EaselError(code, message), 'some-id')))

  it.each(Object.entries(catalogue))(
    'for %s has a title and sentences, without server internals',
    (code, { status }) => {
      const { title, text, id } = told(code as keyof typeof catalogue)
      expect(title).toMatch(/^[A-Z].*[^.]$/)
      expect(text).toMatch(SENTENCES)
      // An error in the request quotes the server, which alone knows what is wrong.
      const quotes =
        status < 500 &&
        ![
          'QUEUE_FULL',
          'RATE_LIMITED',
          'CONCURRENCY_LIMITED',
          'CANCELLED',
          'NO_RECIPE',
          'BODY_TOO_LARGE',
          'REQUEST_TIMEOUT'
        ].includes(code)
      if (!quotes) expect(text).not.toMatch(/RuntimeError|tests|1 requests|MEMORY_BUDGET/)
      expect(id).toBe(status >= 500 ? 'some-id' : undefined)
    }
  )

  it("for a proxy's answer follows its status", () => {
    for (const [statusCode, title] of [
      [502, /Cannot reach the server/],
      [503, /not ready/],
      [504, /too long/],
      [500, /could not be made/],
      [413, /too large/]
    ] as const) {
      const error = new ServerError({ statusCode, code: 'UNKNOWN', message: '<html>nginx</html>' })
      expect(inWords(error).title).toMatch(title)
      expect(inWords(error).text).not.toContain('nginx')
    }
  })

  it('distinguishes temporary errors', () => {
    const passing = Object.keys(catalogue).filter((code) =>
      passes(new ServerError(errorBody(new EaselError(code as keyof typeof catalogue), 'id')))
    )
    expect(passing).toEqual([
      'QUEUE_FULL',
      'RATE_LIMITED',
      'CONCURRENCY_LIMITED',
      'NOT_READY',
      'DRAINING',
      'MEMORY_FULL'
    ])
    expect(passes(new NetworkError('no line'))).toBe(true)
    expect(passes(new Error('a mistake in the page'))).toBe(false)
  })

  it.each([
    [
      'PROMPT_TOO_LONG',
      'prompt',
      'prompt has 92 tokens, with its start and end marks; the model takes 77. It would be cut after "a \\"b\\" c", before " d". Shorten it, or send "truncate": true',
      'This prompt has 92 tokens; the model reads 77, up to “…a "b" c”.'
    ],
    [
      'PROMPT_TOO_LONG',
      'prompt',
      'prompt has 93 tokens, including start and end tokens; the model takes 77. It would be cut after "a b", before " d"',
      'This prompt has 91 tokens; the model reads 75, up to “…a b”.'
    ],
    [
      'PROMPT_TOO_LONG',
      'prompt',
      'prompt has 320 tokens in 5 chunks of 75; the model takes 300 in 4. It would be cut after "a b", before " d"',
      'This prompt has 320 tokens; the model reads 300, up to “…a b”.'
    ],
    ['PROMPT_TOO_LONG', 'prompt', 'said in other words', 'This prompt is too long for the model.'],
    [
      'LIMIT_EXCEEDED',
      'num_images',
      'num_images must be at most 3 at 1024x1024: this server has no memory for more at once (MEMORY_BUDGET)',
      'This server allows at most 3 at this size.'
    ],
    ['LIMIT_EXCEEDED', 'guidance_scale', 'guidance_scale must be at most 12.5', 'This server allows at most 12.5.'],
    ['UNSUPPORTED_SIZE', 'width', '8x8 is not offered', 'This server does not offer this size.'],
    ['INVALID_REQUEST', 'num_images', 'body/num_images must be <= 64', 'Must be <= 64.'],
    ['INVALID_REQUEST', 'quality', 'quality must be something', 'Must be something.']
  ])('at a field, for %s at %s', (code, field, message, words) => {
    expect(describeField({ code, field, message })).toBe(words)
  })
})

describe('texts', () => {
  it('are cut between graphemes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), fc.integer({ min: 1, max: 30 }), (text, most) => {
        const cut = short(text, most)
        if (cut === text) return
        expect(cut.endsWith('…')).toBe(true)
        expect(text.startsWith(cut.slice(0, -1))).toBe(true)
        expect([...new Intl.Segmenter().segment(cut)].length).toBeLessThanOrEqual(most + 1)
        expect(cut).not.toMatch(/\p{Surrogate}/u)
      })
    )
    expect(short('👩‍👩‍👧‍👦👩‍👩‍👧‍👦', 1)).toBe('👩‍👩‍👧‍👦…')
    expect(short('a'.repeat(40_000), 5)).toBe('aaaaa…')
  })

  it('become sentences, with correct plurals', () => {
    expect(['no request', 'It is.', ' so? ', ''].map(sentence)).toEqual(['No request.', 'It is.', 'So?', ''])
    expect([0, 1, 2].map((number) => count(number, 'request'))).toEqual(['0 requests', '1 request', '2 requests'])
  })
})

describe('the start of a status', () => {
  it("is the server's start while starting, despite rounding, else when it was first seen", () => {
    const since = new Since()
    expect(since.note({ status: 'starting', uptime_seconds: 100 }, 1_000_000)).toBe(900_000)
    expect(since.note({ status: 'starting', uptime_seconds: 102 }, 1_002_900)).toBe(900_000)
    // The server was restarted.
    expect(since.note({ status: 'starting', uptime_seconds: 1 }, 1_010_000)).toBe(1_009_000)
    expect(since.note({ status: 'unavailable', uptime_seconds: 50 }, 1_020_000)).toBe(1_020_000)
    expect(since.note({ status: 'unavailable', uptime_seconds: 70 }, 1_040_000)).toBe(1_020_000)
  })
})

describe('arrow keys', () => {
  it('reach every option from every other, and nothing else', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 12 }),
        fc.nat(),
        fc.constantFrom('ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End', 'Enter', 'a'),
        (options, columns, start, key) => {
          const index = start % options
          const next = targetOf(key, index, columns, options)
          expect(next).toBeGreaterThanOrEqual(-1)
          expect(next).toBeLessThan(options)
          if (key === 'ArrowRight') expect(next).toBe(index + 1 < options ? index + 1 : -1)
          // Down moves to the next row, if there is one.
          if (key === 'ArrowDown')
            expect(next !== -1).toBe(Math.floor(index / columns) < Math.floor((options - 1) / columns))
        }
      )
    )
    expect(targetOf('ArrowRight', -1, 3, 9)).toBe(-1)
  })
})

it('the form allows prompts as long as the server does', () => {
  const html = readFileSync(join(packageRoot, 'src/webapp/page/index.html'), 'utf8')
  expect(html.match(/data-most="32000"/g)).toHaveLength(4)
  expect(MAX_PROMPT_LENGTH).toBe(32_000)
  expect(html).not.toMatch(/maxlength/)
})
