/**
 * Chunks as AUTOMATIC1111's web UI fills them: BREAK ends a chunk, and a chunk that is full ends at its last comma if
 * that is among its last 20 tokens. No chunk splits an embedding. Source:
 * https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_hijack_clip.py#L88
 */
import { type Fragment, isBreak } from '../prompt/index.js'
import type { ClipTokenizer, EmbeddingNames, WordMemo } from '../tokenizer/index.js'
import { type Chunk, Filling, tokensOf } from './chunk.js'

/** The web UI's default of `comma_padding_backtrack`. */
const BACKTRACK = 20
const COMMA = ',</w>'

/**
 * At least one chunk.
 *
 * What moves to the next chunk after a comma takes its embeddings along. The web UI leaves their vectors behind, in the
 * padding of the chunk that ends there.
 */
export function a1111Chunks(fragments: readonly Fragment[], tokenizer: ClipTokenizer, names?: EmbeddingNames): Chunk[] {
  const chunks: Chunk[] = []
  const memo: WordMemo = new Map()
  let filling = new Filling()
  let lastComma: number | undefined
  const end = (next: Filling): void => {
    chunks.push(filling.chunk(tokenizer))
    filling = next
    lastComma = undefined
  }
  for (const fragment of fragments) {
    if (isBreak(fragment)) {
      end(new Filling())
      continue
    }
    const { ids, starts } = tokensOf(fragment, tokenizer, memo)
    for (let index = 0; index < ids.length;) {
      const found = names?.at(ids, index, tokenizer)
      const { ids: added, length } = found ?? { ids: [ids[index]!], length: 1 }
      const full = filling.length === tokenizer.room
      if (found === undefined && tokenizer.spelling(ids[index]!) === COMMA) lastComma = filling.length
      else if (full && lastComma !== undefined && filling.length - lastComma <= BACKTRACK) {
        end(filling.cutFrom(lastComma + 1))
      }
      if (filling.length + added.length > tokenizer.room) end(new Filling())
      for (const id of added) filling.push(id, fragment.weight, starts[index]!)
      index += length
    }
  }
  if (filling.length > 0 || chunks.length === 0) end(new Filling())
  return chunks
}

/**
 * The same chunks for an encoder that has the same vocabulary and pads with another id: the web UI pads after the first
 * end token, even one that the prompt spells out.
 */
export function repadded(chunks: readonly Chunk[], { eosId, padId }: ClipTokenizer): Chunk[] {
  return chunks.map((chunk) => {
    const end = chunk.ids.indexOf(eosId)
    return { ...chunk, ids: chunk.ids.map((id, index) => (index > end ? padId : id)) }
  })
}
