import type { ClipTokenizer, EmbeddingNames, WordMemo } from '../tokenizer/index.js'
import { type Chunk, Filling } from './chunk.js'

/** The text in chunks as full as they can be, at least one. */
export function plainChunks(text: string, tokenizer: ClipTokenizer, memo: WordMemo, names?: EmbeddingNames): Chunk[] {
  const { ids, starts } = tokenizer.tokens(text, memo, names)
  const chunks: Chunk[] = []
  for (let from = 0; from === 0 || from < ids.length; from += tokenizer.room) {
    const filling = new Filling()
    for (let index = from; index < Math.min(ids.length, from + tokenizer.room); index++)
      filling.push(ids[index]!, 1, starts[index]!)
    chunks.push(filling.chunk(tokenizer))
  }
  return chunks
}
