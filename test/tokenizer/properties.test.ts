import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode, tokenizerOf, wholeIds } from './support.js'

const tokenizer = tokenizerOf(20_000)
const ids = (text: string): number[] => wholeIds(tokenizer, text)
const withoutSpecials = (text: string): boolean => !/<\|/.test(text)
const withoutBlanks = (text: string): string => text.replaceAll(/\s/g, '')

describe('decoded ids', () => {
  it('are the text in lower case, ignoring white space', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }).filter(withoutSpecials), (text) => {
        expect(withoutBlanks(decode(ids(text)))).toBe(withoutBlanks(text.toLowerCase()))
      })
    )
  })

  it('are the NFC of text in scripts without case', () => {
    const han = fc.string({ unit: fc.integer({ min: 0x4e_00, max: 0x9f_ff }).map((c) => String.fromCodePoint(c)) })
    const hangul = fc.string({ unit: fc.integer({ min: 0xac_00, max: 0xd7_a3 }).map((c) => String.fromCodePoint(c)) })
    fc.assert(
      fc.property(fc.oneof(han, hangul), (text) => {
        expect(withoutBlanks(decode(ids(text.normalize('NFD'))))).toBe(text)
      })
    )
  })

  it('encode to the same ids again', () => {
    // A word split from its neighbour without a space has the same ids as with one.
    const wordy = fc.string({ unit: fc.constantFrom(...'abcxyzAÉéß 1!?.,漢字Ж\u0301🎨') })
    fc.assert(
      fc.property(wordy, (text) => {
        expect(ids(decode(ids(text)))).toEqual(ids(text))
      })
    )
  })
})

describe('ids do not depend on', () => {
  it('the case of ASCII letters', () => {
    fc.assert(
      fc.property(fc.string().filter(withoutSpecials), (text) => {
        expect(ids(text.toUpperCase())).toEqual(ids(text.toLowerCase()))
      })
    )
  })

  it('the normalization form', () => {
    const accented = fc.string({ unit: fc.constantFrom(...'aeiouAOUçñ한글각ÅǄ\u0301\u0316\u0308\u0323\u0327\u0f73') })
    fc.assert(
      fc.property(accented, (text) => {
        expect(ids(text.normalize('NFD'))).toEqual(ids(text.normalize('NFC')))
      })
    )
  })

  it('the kind and amount of white space between words', () => {
    const blank = fc.string({ unit: fc.constantFrom(...' \t\n\r\u000b\u0085\u00a0\u2003\u2028\u3000'), minLength: 1 })
    fc.assert(
      fc.property(fc.array(fc.constantFrom('cat', 'É', '1', '!?', '漢')), blank, (parts, space) => {
        expect(ids(space + parts.join(space) + space)).toEqual(ids(parts.join(' ')))
      })
    )
  })

  it('neighbouring words', () => {
    fc.assert(
      fc.property(fc.string().filter(withoutSpecials), fc.string().filter(withoutSpecials), (a, b) => {
        expect(ids(`${a} ${b}`).slice(1, -1)).toEqual([...ids(a).slice(1, -1), ...ids(b).slice(1, -1)])
      })
    )
  })
})

it('reads a lone surrogate, which JSON can contain, as U+FFFD', () => {
  expect(ids('a\ud83db')).toEqual(ids('a\ufffdb'))
  expect(ids('\udc00\ud800')).toEqual(ids('\ufffd\ufffd'))
  expect(ids('😀')).not.toEqual(ids('\ufffd\ufffd'))
})
