import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ClipTokenizer } from '../../src/tokenizer/index.js'
import { SdxlTokenizers } from '../../src/tokenizer/sdxl-tokenizers.js'
import { modelFolder, config, tokenizerOf, unicode, vocabulary, wholeIds } from './support.js'

/** Has room for three ids of text. */
const short = tokenizerOf(5)

describe('the cut of a prompt', () => {
  it.each([
    ['a cat sat', 'a cat sat', ''],
    ['a cat sat down', 'a cat sat ', 'down'],
    ['  A  CAT  sat  down  there ', '  A  CAT  sat  ', 'down  there '],
    // The tokens are super, cali, frag, ili and so on.
    ['supercalifragilisticexpialidocious', 'supercalifrag', 'ilisticexpialidocious'],
    ['SuperCaliFragiliSticExpialidocious', 'SuperCaliFrag', 'iliSticExpialidocious'],
    // The three ids cover three of the character's four bytes, so the whole character is cut.
    ['a b \u{10ffff}', 'a b ', '\u{10ffff}'],
    ['\u{10ffff}', '', '\u{10ffff}'],
    // Two source characters that normalize to one (tokens caf and és), and one that normalizes to two.
    ['a cafe\u0301s', 'a cafe\u0301s', ''],
    ['a b cafe\u0301s', 'a b caf', 'e\u0301s'],
    ['a b c e\u0301', 'a b c ', 'e\u0301'],
    ['a b İx', 'a b ', 'İx'],
    ['a b c <|endoftext|>!', 'a b c ', '<|endoftext|>!'],
    ['a b c <|STARTOFTEXT|>', 'a b c ', '<|STARTOFTEXT|>'],
    ['a b c \ud83d', 'a b c ', '\ud83d']
  ])('keeps what three ids cover of %j', (text, kept, cut) => {
    expect(short.encode(text)).toMatchObject({ kept, cut, truncated: cut !== '' })
  })

  it('is the earlier of the cuts of the two tokenizers', async () => {
    const sdxl = await SdxlTokenizers.fromModelFolder(modelFolder)
    const text = `${'a '.repeat(70)}wow!!!!!! yes`
    const encoded = sdxl.encode(text)
    // "!!!!!!" is one token to the first and six to the second.
    expect(encoded).toMatchObject({ truncated: true, length: 70 + 1 + 6 + 1 + 2, cut: '!! yes' })
    expect(encoded.ids.slice(71, 77)).toEqual([2781, 9168, 1958, 49_407, 49_407, 49_407])
    expect(encoded.ids_2.slice(72, 77)).toEqual([0, 0, 0, 0, 49_407])
  })

  const anyText = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: 'grapheme', maxLength: 60 }),
    fc
      .array(
        fc.constantFrom(
          'a',
          'É',
          'e\u0301',
          '!',
          ' ',
          '1',
          "'s",
          '<|endoftext|>',
          '<|StartOfText|>',
          '\ud800',
          'İ',
          '👨‍👩‍👧',
          '\u0f73',
          'Σ'
        ),
        { maxLength: 60 }
      )
      .map((parts) => parts.join(''))
  )

  it('splits the text without loss, and only if it is too long', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 2, max: 40 }), (text, maxLength) => {
        const { kept, cut, truncated, length, ids } = tokenizerOf(maxLength).encode(text)
        expect(kept + cut).toBe(text)
        expect(truncated).toBe(length > maxLength)
        expect(cut !== '').toBe(truncated)
        expect(ids.length).toBe(maxLength)
      })
    )
  })

  it('keeps a prefix of the ids of the whole text', () => {
    const whole = tokenizerOf(5000)
    fc.assert(
      fc.property(anyText, fc.integer({ min: 2, max: 40 }), (text, maxLength) => {
        const all = wholeIds(whole, text)
        const { ids, length } = tokenizerOf(maxLength).encode(text)
        expect(length).toBe(all.length)
        const held = Math.min(length, maxLength) - 1
        expect(ids.slice(0, held)).toEqual(all.slice(0, held))
        expect(ids[held]).toBe(49_407)
      })
    )
  })

  it('never moves backwards when the maximum length grows', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 2, max: 40 }), (text, maxLength) => {
        const less = tokenizerOf(maxLength).encode(text)
        const more = tokenizerOf(maxLength + 1).encode(text)
        expect(more.kept.startsWith(less.kept)).toBe(true)
      })
    )
  })
})

it('works with room for only start and end', () => {
  const tokenizer = new ClipTokenizer(vocabulary, { ...config[0], maxLength: 2 }, unicode)
  expect(tokenizer.encode('a')).toEqual({ ids: [49_406, 49_407], length: 3, truncated: true, kept: '', cut: 'a' })
})
