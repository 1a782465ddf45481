import { parsePrompt, type PromptSyntax } from '../prompt/index.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
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

/** Splits a prompt into chunks for both text encoders. @throws PromptSyntaxError */
export function chunksOf(
  prompt: string,
  { syntax, negative }: { readonly syntax: PromptSyntax; readonly negative: boolean },
  { tokenizers: [first, second] }: SdxlTokenizers
): readonly [EncoderChunks, EncoderChunks] {
  const alike = first.digest === second.digest
  if (syntax === 'plain') {
    const memo = new Map()
    return [
      { chunks: plainChunks(prompt, first, memo), masked: [] },
      { chunks: plainChunks(prompt, second, alike ? memo : new Map()), masked: [] }
    ]
  }
  const fragments = parsePrompt(prompt, syntax, negative)
  if (syntax === 'compel') return [compelChunks(fragments, first), compelChunks(fragments, second)]
  // The web UI's two tokenizers differ in the padding only. Ours differ also in a spelled-out padding token.
  const chunks = a1111Chunks(fragments, first)
  const other = alike ? repadded(chunks, second) : a1111Chunks(fragments, second)
  return [
    { chunks, masked: [] },
    { chunks: other, masked: [] }
  ]
}
