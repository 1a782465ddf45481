/** The reading of compel. python-worker/parity/prompts/make_goldens.py made the golden files. */
import { describe, expect, it } from 'vitest'
import { parseCompel } from '../../src/prompt/compel.js'
import { goldenRows, type ParseGolden } from './support.js'

/** compel makes nothing of a prompt of empty brackets, and then fails; here it is the empty text. */
const NOTHING: [string, number][] = [['', 1]]

describe('fragments', () => {
  it("equal compel's in more than 500 prompts", () => {
    const rows = goldenRows<ParseGolden>('compel-parse.json')
    expect(rows.length).toBeGreaterThan(500)
    expect(rows.filter(({ fragments }) => fragments === null)).toEqual([])
    for (const { text, fragments } of rows) {
      const read = parseCompel(text)
      const expected = fragments!.length === 0 ? NOTHING : fragments!
      expect(
        read.map((fragment) => fragment.text),
        text
      ).toEqual(expected.map(([part]) => part))
      // Powers differ in the last bit between C libraries.
      for (const [index, { weight }] of read.entries()) expect(weight, text).toBeCloseTo(expected[index]![1], 12)
    }
  })
})

it('locates each character in the prompt, except the spaces it adds', () => {
  const prompt = String.raw`a,(b "c \"d\"")1.3 e++ \(f\)`
  for (const { text, starts } of parseCompel(prompt)) {
    expect(starts.length).toBe(text.length)
    const other = [...text].filter((character, index) => character !== ' ' && character !== prompt[starts[index]!])
    expect(other).toEqual([])
  }
})

describe('refuses', () => {
  it.each(goldenRows<{ text: string; operator: string }>('compel-operators.json'))(
    '$operator in $text',
    ({ text, operator }) => {
      expect(operator).not.toBe('none')
      expect(() => parseCompel(text)).toThrow('an operator of compel that Easel does not do')
    }
  )

  it('weights out of range and brackets too deep to read', () => {
    expect(() => parseCompel('(a)1000.5')).toThrow('gives "a" the weight 1000.5')
    expect(() => parseCompel(`${'(a '.repeat(101)}`)).toThrow('more than 100 deep')
  })

  it('no operator that is escaped', () => {
    expect(() => parseCompel(String.raw`a \.swap(b)`)).not.toThrow()
  })
})
