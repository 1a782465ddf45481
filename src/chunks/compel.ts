/**
 * Chunks as compel 2.5.1 fills them with `truncate_long_prompts=False`: a long prompt is split after the last sentence
 * that fits, else after the last phrase, else after the last word. Source:
 * https://github.com/damian0815/compel/blob/v2.5.1/src/compel/embeddings_provider.py#L383
 */
import type { Fragment } from '../prompt/index.js'
import type { ClipTokenizer, EmbeddingNames, WordMemo } from '../tokenizer/index.js'
import { type Chunk, Filling, tokensOf } from './chunk.js'

/** Positions from `start` up to `end` in the ids of all chunks joined. */
export type Span = [start: number, end: number]

export interface CompelChunks {
  /** At least one. */
  readonly chunks: Chunk[]
  /** Where each fragment with a weight below 1 is. compel hides these from the text encoder, one at a time. */
  readonly masked: Span[]
}

const SENTENCE = new Set(['.</w>'])
const PHRASE = new Set(['.</w>', ',</w>', ';</w>', ':</w>'])

/** Where to split, best first. */
const SPLITS: readonly ((spelling: string) => boolean)[] = [
  (spelling) => SENTENCE.has(spelling),
  (spelling) => PHRASE.has(spelling),
  (spelling) => spelling.endsWith('</w>')
]

/** @param names of embeddings, as compel's DiffusersTextualInversionManager finds them */
export function compelChunks(
  fragments: readonly Fragment[],
  tokenizer: ClipTokenizer,
  names?: EmbeddingNames
): CompelChunks {
  const memo: WordMemo = new Map()
  const all = new Filling()
  const lowered: Span[] = []
  for (const fragment of fragments) {
    const { ids, starts } = tokensOf(fragment, tokenizer, memo, names)
    if (fragment.weight < 1 && ids.length > 0) lowered.push([all.length, all.length + ids.length])
    for (const [index, id] of ids.entries()) all.push(id, fragment.weight, starts[index]!)
  }
  const lengths = splitLengths(all.ids, tokenizer)
  const positions = positionsOf(lengths, tokenizer.maxLength)
  let from = 0
  const chunks = lengths.map((length) => {
    const chunk = all.part(from, from + length)
    from += length
    return chunk.chunk(tokenizer)
  })
  return { chunks, masked: lowered.map(([start, end]) => [positions[start]!, positions[end - 1]! + 1]) }
}

/** The number of tokens of each chunk; one chunk of none for no tokens. */
function splitLengths(ids: readonly number[], tokenizer: ClipTokenizer): number[] {
  const lengths: number[] = []
  let from = 0
  do {
    const length = ids.length - from <= tokenizer.room ? ids.length - from : splitLength(ids, from, tokenizer)
    lengths.push(length)
    from += length
  } while (from < ids.length)
  return lengths
}

/** How many of the tokens from `from` on go into a chunk that cannot take all. */
function splitLength(ids: readonly number[], from: number, tokenizer: ClipTokenizer): number {
  const window = ids.slice(from, from + tokenizer.room).map((id) => tokenizer.spelling(id))
  for (const splits of SPLITS) {
    const last = window.findLastIndex(splits)
    if (last !== -1) return last + 1
  }
  return tokenizer.room
}

/** The position of each token among the ids of all chunks. */
function positionsOf(lengths: readonly number[], chunkLength: number): number[] {
  return lengths.flatMap((length, chunk) => Array.from({ length }, (_, index) => chunk * chunkLength + 1 + index))
}
