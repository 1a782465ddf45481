/** Byte-pair encoding of one word. */
import { MinHeap } from './min-heap.js'
import type { Vocabulary } from './vocabulary.js'

/** Heap keys are `rank * POSITIONS + position`: the lowest rank first, and of one rank the leftmost. */
const POSITIONS = 2 ** 32

/** The place after the last symbol and before the first; the id of a symbol that went into another. */
const NONE = -1

/** A word being merged: symbols in a doubly linked list over arrays. */
interface Chain {
  readonly ids: Int32Array
  readonly next: Int32Array
  readonly previous: Int32Array
}

/**
 * The ids of the word whose UTF-8 is `bytes` (one at least). O(n log n): each merge adds two
 * candidates at most, and one that was overtaken is recognised by its rank when its turn comes.
 */
export function mergeWord(bytes: Uint8Array, vocabulary: Vocabulary): number[] {
  const chain = newChain(bytes, vocabulary)
  const heap = new MinHeap()
  const propose = (position: number): void => {
    const rank = rankAt(chain, position, vocabulary)
    if (rank !== undefined) heap.push(rank * POSITIONS + position)
  }
  for (let position = 0; position < bytes.length - 1; position++) propose(position)
  for (let key = heap.pop(); key !== undefined; key = heap.pop()) {
    const rank = Math.floor(key / POSITIONS)
    const position = key % POSITIONS
    if (rankAt(chain, position, vocabulary) !== rank) continue
    join(chain, position, vocabulary.merged(rank))
    propose(position)
    const before = chain.previous[position] as number
    if (before !== NONE) propose(before)
  }
  return collect(chain)
}

function newChain(bytes: Uint8Array, vocabulary: Vocabulary): Chain {
  const { length } = bytes
  const chain = { ids: new Int32Array(length), next: new Int32Array(length), previous: new Int32Array(length) }
  for (let position = 0; position < length; position++) {
    chain.ids[position] = vocabulary.byteId(bytes[position] as number, position === length - 1)
    chain.next[position] = position + 1
    chain.previous[position] = position - 1
  }
  chain.next[length - 1] = NONE
  return chain
}

/** The rank of the merge of the symbol at `position` with the one after it, if there is one. */
function rankAt({ ids, next }: Chain, position: number, vocabulary: Vocabulary): number | undefined {
  const id = ids[position] as number
  const after = next[position] as number
  return id === NONE || after === NONE ? undefined : vocabulary.rank(id, ids[after] as number)
}

function join({ ids, next, previous }: Chain, position: number, id: number): void {
  const gone = next[position] as number
  const after = next[gone] as number
  ids[position] = id
  ids[gone] = NONE
  next[position] = after
  if (after !== NONE) previous[after] = position
}

function collect({ ids, next }: Chain): number[] {
  const collected: number[] = []
  for (let position = 0; position !== NONE; position = next[position] as number) collected.push(ids[position] as number)
  return collected
}
