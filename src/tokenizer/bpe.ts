/** Byte-pair encoding of one word. */
import { MinHeap } from './min-heap.js'
import type { Vocabulary } from './vocabulary.js'

/** Heap keys are `rank * POSITIONS + position`: lowest rank first, ties leftmost first. */
const POSITIONS = 2 ** 32

/** As a position: beyond either end of the list. As an id: a symbol already merged into another. */
const NONE = -1

/** A word being merged: symbols in a doubly linked list over arrays. */
interface Chain {
  readonly ids: Int32Array
  readonly next: Int32Array
  readonly previous: Int32Array
}

/**
 * The ids of the word with the UTF-8 `bytes` (at least one). O(n log n): each merge adds at most two candidates. A
 * candidate made stale by another merge stays in the heap; when popped, its rank no longer matches and it is skipped.
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

/** The rank of merging the symbol at `position` with the next one; undefined if they do not merge. */
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
