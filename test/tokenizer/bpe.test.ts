import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { mergeWord } from '../../src/tokenizer/bpe.js'
import { MinHeap } from '../../src/tokenizer/min-heap.js'
import { vocabulary } from './support.js'

/** Literal, quadratic BPE: as long as a pair can merge, merge the leftmost pair of lowest rank. */
function mergeByDefinition(bytes: Uint8Array): number[] {
  const ids = Array.from(bytes, (byte, i) => vocabulary.byteId(byte, i === bytes.length - 1))
  for (;;) {
    const ranks = ids.slice(1).map((right, i) => vocabulary.rank(ids[i] as number, right) ?? Infinity)
    const rank = Math.min(...ranks)
    if (!Number.isFinite(rank)) return ids
    ids.splice(ranks.indexOf(rank), 2, vocabulary.merged(rank))
  }
}

it('merges like a literal implementation of BPE', () => {
  const bytes = fc.oneof(
    fc.string({ unit: fc.constantFrom(...'aeinorst'), minLength: 1, maxLength: 60 }).map((text) => Buffer.from(text)),
    fc.string({ unit: fc.constantFrom(...'ab'), minLength: 1, maxLength: 60 }).map((text) => Buffer.from(text)),
    fc.string({ unit: 'grapheme', minLength: 1 }).map((text) => Buffer.from(text)),
    fc.uint8Array({ minLength: 1, maxLength: 60 })
  )
  fc.assert(
    fc.property(bytes, (word) => {
      expect(mergeWord(word, vocabulary)).toEqual(mergeByDefinition(word))
    }),
    { numRuns: 1000 }
  )
})

it('pops numbers from the heap in ascending order', () => {
  fc.assert(
    fc.property(fc.array(fc.integer()), (numbers) => {
      const heap = new MinHeap()
      for (const number of numbers) heap.push(number)
      expect(numbers.map(() => heap.pop())).toEqual(numbers.toSorted((a, b) => a - b))
      expect(heap.pop()).toBeUndefined()
    })
  )
})
