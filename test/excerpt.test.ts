import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { excerpt } from '../src/excerpt.js'

describe('excerpt', () => {
  it('leaves short plain text unchanged', () => {
    for (const words of ['', 'prompt', 'ein Wort mit Ärmeln, 猫 and 🐈', 'a'.repeat(64)])
      expect(excerpt(words)).toBe(words)
  })

  it('truncates long text between characters', () => {
    expect(excerpt('a'.repeat(65))).toBe(`${'a'.repeat(64)}…`)
    expect(excerpt(`${'a'.repeat(63)}🐈`)).toBe(`${'a'.repeat(63)}…`)
    expect(excerpt('abcdef', 3)).toBe('abc…')
  })

  it('escapes invisible characters', () => {
    expect(excerpt('a\n\u{1b}[31m\u{202e}b\u{2028}\u{d800}')).toBe(
      String.raw`a\u{a}\u{1b}[31m\u{202e}b\u{2028}\u{d800}`
    )
  })

  it('is short, well formed and on one line for any text', () => {
    const words = fc.string({ unit: 'binary', maxLength: 500 })
    fc.assert(
      fc.property(words, fc.integer({ min: 1, max: 100 }), (text, most) => {
        const shown = excerpt(text, most)
        expect(shown.length).toBeLessThanOrEqual(most + 1)
        expect(shown).toMatch(/^[^\p{C}\p{Zl}\p{Zp}]*$/u)
      })
    )
  })
})
