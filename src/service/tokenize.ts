import type { EncoderIndex } from '../chunks/index.js'
import type { PromptSyntax } from '../prompt/index.js'
import type { TokenCount, TokenizeRequest, TokenizeResponse } from '../schemas/tokenize.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
import { warningsOf } from './prompt-job.js'
import { BOTH, type ReadPrompt, readPrompt } from './prompts.js'

const FIELDS = ['prompt', 'prompt_2', 'negative_prompt', 'negative_prompt_2'] as const

/**
 * Counts the tokens of each prompt that the request has.
 *
 * @param maxChunks the most chunks that the workers take, for a syntax that has chunks
 * @throws EaselError INVALID_REQUEST for a syntax that is misused
 */
export function countTokens(
  request: TokenizeRequest,
  { syntax, maxChunks }: { readonly syntax: PromptSyntax; readonly maxChunks: number },
  tokenizers: SdxlTokenizers
): TokenizeResponse {
  const most = syntax === 'plain' ? 1 : maxChunks
  const counted = FIELDS.flatMap((field) => {
    const text = request[field]
    if (text === undefined) return []
    const negative = field.startsWith('negative_')
    return [readPrompt(field, text, encodersOf(field, request), { syntax, negative, most }, tokenizers)]
  })
  const maxTokens = most * tokenizers.tokenizers[0].room
  return {
    ...Object.fromEntries(counted.map((prompt) => [prompt.field, countOf(prompt, maxTokens)])),
    warnings: warningsOf(counted, { syntax })
  }
}

/** The text encoders that take a field's text. */
function encodersOf(field: (typeof FIELDS)[number], request: TokenizeRequest): readonly EncoderIndex[] {
  if (field === 'prompt_2' || field === 'negative_prompt_2') return [1]
  return (request[`${field}_2`] ?? '') === '' ? BOTH : [0]
}

function countOf({ tokens, chunks, encoders, cutAt }: ReadPrompt, maxTokens: number): TokenCount {
  const longest = encoders.find((encoder) => encoder.chunks.length === chunks)!
  return {
    tokens,
    chunks,
    max_tokens: maxTokens,
    chunk_starts: longest.chunks.map(({ start }) => start).filter((start) => start !== undefined),
    cut_at: cutAt ?? null
  }
}
