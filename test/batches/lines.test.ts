import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Line, linesOf, readRequest } from '../../src/batches/lines.js'

const MOST = 40
const ENDPOINT = '/v1/images/generations'

/** Cuts bytes at these places, in any order and as often as they come. */
async function* cut(bytes: Buffer, places: readonly number[]): AsyncGenerator<Buffer> {
  let from = 0
  for (const place of [...places.map((each) => each % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]) {
    yield bytes.subarray(from, place)
    from = place
  }
}

async function split(bytes: Buffer, places: readonly number[] = [], most = MOST): Promise<Line[]> {
  const lines: Line[] = []
  for await (const line of linesOf(cut(bytes, places), most)) lines.push(line)
  return lines
}

describe('lines', () => {
  it('are the same wherever the bytes are cut, with any ends, blanks and byte order mark', async () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'é', '漢', '🎨', '"', ' ', '\t', '\uFEFF'), maxLength: 12 })
    const ends = fc.constantFrom('\n', '\r\n')
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(text, ends), { maxLength: 8 }),
        fc.boolean(),
        fc.boolean(),
        fc.array(fc.nat(300), { maxLength: 20 }),
        async (lines, marked, ended, places) => {
          const all = lines.map(([line, end], index) => line + (ended || index < lines.length - 1 ? end : '')).join('')
          const bytes = Buffer.from((marked ? '\uFEFF' : '') + all)
          const expected = lines.flatMap(([line], index): Line[] => {
            const length = Buffer.byteLength(line) + (marked && index === 0 ? 3 : 0)
            const number = index + 1
            // With CRLF, the CR counts too: such lengths are in the test below.
            if (length >= MOST - 1) return []
            const kept = line.replace(/^\uFEFF/, index === 0 && !marked ? '' : '$&').trim()
            return kept === '' ? [] : [{ number, text: kept }]
          })
          const found = (await split(bytes, places)).filter(({ problem }) => problem === undefined)
          const short = found.filter(({ number }) => {
            const line = lines[number - 1]![0]
            return Buffer.byteLength(line) + (marked && number === 1 ? 3 : 0) < MOST - 1
          })
          expect(short).toEqual(expected)
        }
      ),
      { numRuns: 500 }
    )
  })

  it('that are longer than allowed are told, not kept, and those after them are read', async () => {
    const bytes = Buffer.from(`${'x'.repeat(MOST)}\n${'y'.repeat(MOST + 1)}\nz\n${'w'.repeat(10 * MOST)}`)
    for (const places of [[], [3, 41, 42, 43, 84, 90], Array.from({ length: bytes.length }, (_, index) => index)])
      expect(await split(bytes, places)).toEqual([
        { number: 1, text: 'x'.repeat(MOST) },
        { number: 2, text: undefined, problem: 'long' },
        { number: 3, text: 'z' },
        { number: 4, text: undefined, problem: 'long' }
      ])
  })

  it('of a gigabyte keep nothing of it', async () => {
    const chunk = Buffer.alloc(2 ** 20, 'x')
    async function* endless() {
      for (let index = 0; index < 1024; index++) yield chunk
    }
    const before = process.memoryUsage().arrayBuffers
    let most = 0
    for await (const line of linesOf(
      (async function* () {
        for await (const each of endless()) {
          most = Math.max(most, process.memoryUsage().arrayBuffers - before)
          yield each
        }
      })(),
      2 ** 20
    ))
      expect(line.problem).toBe('long')
    expect(most).toBeLessThan(16 * 2 ** 20)
  })

  it('that are not UTF-8 are told', async () => {
    expect(await split(Buffer.from([0x61, 0x0a, 0xff, 0x0a, 0x62]))).toEqual([
      { number: 1, text: 'a' },
      { number: 2, text: undefined, problem: 'encoding' },
      { number: 3, text: 'b' }
    ])
  })
})

describe('a line', () => {
  const good = { custom_id: 'a', method: 'POST', url: ENDPOINT, body: { prompt: 'x' } }
  const read = (value: unknown) =>
    readRequest({ number: 7, text: typeof value === 'string' ? value : JSON.stringify(value) }, ENDPOINT, MOST)

  it('is a request', () => {
    expect(read(good)).toEqual({ custom_id: 'a', body: { prompt: 'x' } })
  })

  it.each([
    ['{"custom_id": ', 'invalid_json_line', null],
    [`${JSON.stringify(good)} {}`, 'invalid_json_line', null],
    [[good], 'invalid_json_line', null],
    ['null', 'invalid_json_line', null],
    [{ ...good, custom_id: undefined }, 'missing_required_parameter', 'custom_id'],
    [{ ...good, body: undefined }, 'missing_required_parameter', 'body'],
    [{ ...good, custom_id: 7 }, 'invalid_custom_id', 'custom_id'],
    [{ ...good, custom_id: '' }, 'invalid_custom_id', 'custom_id'],
    [{ ...good, custom_id: 'x'.repeat(513) }, 'invalid_custom_id', 'custom_id'],
    [{ ...good, method: 'GET' }, 'invalid_method', 'method'],
    [{ ...good, url: '/v1/chat/completions' }, 'invalid_url', 'url'],
    [{ ...good, url: 7 }, 'invalid_url', 'url'],
    [{ ...good, body: 'x' }, 'invalid_request', 'body'],
    [{ ...good, body: [] }, 'invalid_request', 'body']
  ])('says what is wrong: %j', (value, code, param) => {
    expect(read(value)).toMatchObject({
      error: { code, param, line: 7, message: expect.stringMatching(/\w/) as string }
    })
  })

  it('of any text is a request or an error, and never throws', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => void read(text)))
  })
})
