import type { EncoderIndex } from '../chunks/index.js'
import type { Capabilities } from '../workers/capabilities.js'
import type { PromptSyntax } from '../prompt/index.js'
import type { TokenCount, TokenizeRequest, TokenizeResponse } from '../schemas/tokenize.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
import { embeddingNames, namesIn } from './embeddings.js'
import { warningsOf } from './prompt-job.js'
import { BOTH, type ReadPrompt, readPrompt } from './prompts.js'

const FIELDS = ['prompt', 'prompt_2', 'negative_prompt', 'negative_prompt_2'] as const

/**
 * Counts the tokens of each prompt that the request has.
 *
 * @param maxChunks the most chunks that the workers take now, for a syntax that has chunks
 * @param comingMaxChunks the same when all is compiled; texts are cut there
 * @param embeddings that prompts may name
 * @throws EaselError INVALID_REQUEST for a syntax that is misused
 */
export function countTokens(
  request: TokenizeRequest,
  {
    syntax,
    maxChunks,
    comingMaxChunks,
    embeddings
  }: Pick<Capabilities, 'comingMaxChunks' | 'embeddings'> & {
    readonly syntax: PromptSyntax
    readonly maxChunks: number
  },
  tokenizers: SdxlTokenizers
): TokenizeResponse {
  const [now, most] = syntax === 'plain' ? [1, 1] : [maxChunks, comingMaxChunks]
  const names = embeddingNames({}, { embeddings }, tokenizers)
  const counted = FIELDS.flatMap((field) => {
    const text = request[field]
    if (text === undefined) return []
    const negative = field.startsWith('negative_')
    return [readPrompt(field, text, encodersOf(field, request), { syntax, negative, most, names }, tokenizers)]
  })
  const { room } = tokenizers.tokenizers[0]
  const limits = { max_tokens: now * room, ...(most > now ? { coming_max_tokens: most * room } : {}) }
  return {
    ...Object.fromEntries(counted.map((prompt) => [prompt.field, countOf(prompt, limits, names)])),
    warnings: warningsOf(counted, { syntax })
  }
}

/** The text encoders that take a field's text. */
function encodersOf(field: (typeof FIELDS)[number], request: TokenizeRequest): readonly EncoderIndex[] {
  if (field === 'prompt_2' || field === 'negative_prompt_2') return [1]
  return (request[`${field}_2`] ?? '') === '' ? BOTH : [0]
}

function countOf(
  { tokens, chunks, encoders, cutAt }: ReadPrompt,
  limits: Pick<TokenCount, 'max_tokens' | 'coming_max_tokens'>,
  names: ReturnType<typeof embeddingNames>
): TokenCount {
  const longest = encoders.find((encoder) => encoder.chunks.length === chunks)!
  const used = namesIn(
    encoders.flatMap((encoder) => encoder.chunks.flatMap(({ ids }) => ids)),
    names
  )
  return {
    tokens,
    chunks,
    ...limits,
    chunk_starts: longest.chunks.map(({ start }) => start).filter((start) => start !== undefined),
    cut_at: cutAt ?? null,
    ...(used.length === 0 ? {} : { embeddings: used })
  }
}
