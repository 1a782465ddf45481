import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AddedTokenFinder } from '../../src/tokenizer/added-tokens.js'
import { NameFinder } from '../../src/tokenizer/name-finder.js'

const all = <T>(items: Iterable<T>): T[] => [...items]
const NONE = new Map<string, readonly number[]>()
const text = (letters: string, maxLength: number) =>
  fc.array(fc.constantFrom(...letters), { minLength: 1, maxLength }).map((parts) => parts.join(''))
const found = (names: [string, number[]][], source: string) =>
  all(new NameFinder(NONE, names).split(source)).map(({ start, end, ids }) => [source.slice(start, end), ids])

describe('NameFinder', () => {
  it('finds what the finder of added tokens finds, the leftmost and then the longest', () => {
    fc.assert(
      fc.property(fc.uniqueArray(text('abc.', 4), { maxLength: 6 }), text('abc. ', 30), (names, source) => {
        const ids = new Map(names.map((name, index) => [name, [index]]))
        const expected = all(new AddedTokenFinder(ids).split(source))
        expect(all(new NameFinder(NONE, ids).split(source))).toEqual(expected)
        expect(all(new NameFinder(ids, []).split(source))).toEqual(expected)
      })
    )
  })

  it('covers the whole text in order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(text('ab_1 ', 5), fc.array(fc.nat(), { minLength: 1, maxLength: 13 }))),
        text('ab_12 \n', 40),
        (names, source) => {
          expect(
            found(names, source)
              .map(([part]) => part)
              .join('')
          ).toBe(source)
        }
      )
    )
  })

  const ids = (count: number) => Array.from({ length: count }, (_, index) => index)
  it.each([
    ['a_1', [['a_1', [1]]]],
    [
      'a_11b',
      [
        ['a_11', [11]],
        ['b', undefined]
      ]
    ],
    [
      'a_13',
      [
        ['a_1', [1]],
        ['3', undefined]
      ]
    ],
    [
      'a_0',
      [
        ['a', ids(13)],
        ['_0', undefined]
      ]
    ],
    [
      'a_',
      [
        ['a', ids(13)],
        ['_', undefined]
      ]
    ],
    ['a_2', [['a_2', [99]]]],
    ['x  y', [['x  y', [7]]]],
    ['x\u00a0\ny', [['x\u00a0\ny', [7]]]]
  ])('reads %j', (source, expected) => {
    expect(
      found(
        [
          ['a', ids(13)],
          ['a_2', [99]],
          ['x y', [7]]
        ],
        source
      )
    ).toEqual(expected)
  })
})
