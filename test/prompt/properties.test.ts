import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parsePrompt, PromptSyntaxError, type WeightedSyntax } from '../../src/prompt/index.js'
import { weightedPart } from '../../src/prompt/doubts.js'
import { expectLinear } from '../support/linear.js'
import { ADVERSARIES } from './support.js'

const SYNTAXES: readonly WeightedSyntax[] = ['a1111', 'compel']

const marks = fc.string({
  unit: fc.constantFrom(...'()[]{}<>:|\\"+-.,=_ \n\tab1.5', 'BREAK', 'AND', ':1.2)', ')0.5'),
  maxLength: 60
})
const anything = fc.oneof(marks, fc.string({ unit: 'binary', maxLength: 60 }))

/** undefined for a refusal. Any other error fails the test. */
function read(text: string, syntax: WeightedSyntax) {
  try {
    return parsePrompt(text, syntax, false)
  } catch (error) {
    if (error instanceof PromptSyntaxError) return undefined
    throw error
  }
}

describe.each(SYNTAXES)('%s', (syntax) => {
  it('reads any text, or refuses it', () => {
    fc.assert(
      fc.property(anything, (text) => {
        const fragments = read(text, syntax)
        if (fragments === undefined) return
        expect(fragments.length).toBeGreaterThan(0)
        for (const fragment of fragments) {
          expect(Number.isFinite(fragment.weight)).toBe(true)
          expect(fragment.starts.length).toBe(fragment.text.length)
          for (const start of fragment.starts) expect(start).toBeLessThan(text.length)
        }
      }),
      { numRuns: 2000 }
    )
  })

  it('reads plain words as one fragment of weight 1', () => {
    const words = fc.array(fc.string({ unit: fc.constantFrom(...'abcé漢字😀01'), minLength: 1 }), { minLength: 1 })
    fc.assert(
      fc.property(words, (each) => {
        const text = each.join(' ')
        expect(read(text, syntax)).toMatchObject([{ text, weight: 1 }])
      })
    )
  })

  it.each(ADVERSARIES)('takes time linear in the length: %j', (piece) => {
    const make = (length: number): string => piece.repeat(length / piece.length)
    expectLinear(make, 32_000, (text) => {
      read(text, syntax)
      weightedPart(text)
    })
  })
})

describe('text that looks weighted', () => {
  it.each([
    ['a (red:1.3) ball', '(red:1.3)'],
    ['a ((red)) ball', '((red))'],
    ['a (red)1.3 ball', '(red)1.3'],
    ['(red ball)++', '(red ball)++'],
    ['a BREAK b', 'BREAK'],
    ['a <lora:x:1> b', '<lora:x:1>']
  ])('%s: %s', (text, part) => {
    expect(weightedPart(text)).toBe(part)
  })

  it.each([
    'a red ball',
    'a ball (red)',
    'at 12:30 (see: above)',
    'C++ and a+',
    'break',
    'a < b > c',
    '1.5 (m)',
    'f(x) = 2'
  ])('is not: %s', (text) => {
    expect(weightedPart(text)).toBeUndefined()
  })
})
