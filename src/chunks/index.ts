import { type Fragment, parsePrompt, type PromptSyntax } from '../prompt/index.js'
import type { ClipTokenizer, EmbeddingNames, SdxlTokenizers, WordMemo } from '../tokenizer/index.js'
import { a1111Chunks, repadded } from './a1111.js'
import type { Chunk } from './chunk.js'
import { compelChunks, type Span } from './compel.js'
import { plainChunks } from './plain.js'

export { type Chunk, emptyChunk } from './chunk.js'
export type { Span } from './compel.js'

/** A prompt for one text encoder. */
export interface EncoderChunks {
  /** At least one. */
  readonly chunks: readonly Chunk[]
  /** See `CompelChunks.masked`; empty for other syntaxes. */
  readonly masked: readonly Span[]
}

/** The first or the second text encoder. */
export type EncoderIndex = 0 | 1

export interface ChunkingOptions {
  readonly syntax: PromptSyntax
  readonly negative: boolean
  /** Of the embeddings that the prompt may name. */
  readonly names?: EmbeddingNames | undefined
}

/**
 * Splits a prompt into chunks.
 *
 * @param which the text encoders to split it for
 * @throws PromptSyntaxError
 */
export function chunksOf(
  prompt: string,
  which: readonly EncoderIndex[],
  { syntax, negative, names }: ChunkingOptions,
  tokenizers: SdxlTokenizers
): EncoderChunks[] {
  const chosen = which.map((index) => tokenizers.tokenizers[index])
  if (syntax === 'plain') return plainFor(prompt, chosen, names)
  const fragments = parsePrompt(prompt, syntax, negative)
  if (syntax === 'compel') return chosen.map((tokenizer) => compelChunks(fragments, tokenizer, names))
  return a1111For(fragments, chosen, tokenizers, names)
}

function plainFor(
  prompt: string,
  chosen: readonly ClipTokenizer[],
  names: EmbeddingNames | undefined
): EncoderChunks[] {
  const memo: WordMemo = new Map()
  const alike = chosen.every(({ digest }) => digest === chosen[0]!.digest)
  return chosen.map((tokenizer) => ({
    chunks: plainChunks(prompt, tokenizer, alike ? memo : new Map(), names),
    masked: []
  }))
}

/** The web UI's two tokenizers differ in the padding only. A model's second one may also know it spelled out. */
function a1111For(
  fragments: readonly Fragment[],
  chosen: readonly ClipTokenizer[],
  { tokenizers: [first, second] }: SdxlTokenizers,
  names: EmbeddingNames | undefined
): EncoderChunks[] {
  const alike = first.digest === second.digest
  const chunks = alike ? a1111Chunks(fragments, first, names) : []
  return chosen.map((tokenizer) => ({
    chunks: alike ? repadded(chunks, tokenizer) : a1111Chunks(fragments, tokenizer, names),
    masked: []
  }))
}
