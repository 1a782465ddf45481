import { type Chunk, chunksOf } from '../chunks/index.js'
import { EaselError } from '../errors.js'
import { doubtOf } from '../prompt/index.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
import { type Capabilities, GUIDANCE_EMBEDDING, needsWeights, PROMPT_WEIGHTS } from '../workers/capabilities.js'
import { type Job, rowsOf } from '../workers/job.js'
import type { TokenIds } from '../workers/protocol.js'
import type { Decided } from './decisions.js'
import { embeddingNames, type EmbeddingsOfJob, withEmbeddings } from './embeddings.js'
import { NOT_READY_RETRY_SECONDS } from './failures.js'
import { BOTH, describeCut, fitted, type Reading, type ReadPrompt, readPrompt } from './prompts.js'

/** The parameters that say what to read and how. */
export type PromptFields = Pick<
  Decided,
  | 'prompt'
  | 'prompt_2'
  | 'negative_prompt'
  | 'negative_prompt_2'
  | 'prompt_syntax'
  | 'embeddings'
  | 'force_zeros_for_empty_prompt'
  | 'guidance_scale'
  | 'guidance_start'
  | 'guidance_end'
  | 'num_inference_steps'
>

/** What a model's workers can do with prompts, now and when all is compiled. */
type Abilities = Pick<Capabilities, 'features' | 'limits' | 'comingFeatures' | 'comingMaxChunks' | 'embeddings'>

/** How long a request's prompts are. */
export interface PromptUsage {
  /** Chunks of 75 tokens that each text encoder takes for each prompt. */
  readonly chunks: number
  /** Tokens of each prompt by its field, before any cut, without start, end and padding. */
  readonly tokens: Readonly<Record<string, number>>
  /** Tokens of all prompts, with start and end of each chunk. */
  readonly total: number
}

/** What an answer says about the prompts, and about LoRAs. */
export interface PromptReport {
  /** Names of the prompts that were truncated. */
  readonly truncated: readonly string[]
  /** One line for each thing that is probably not meant so. */
  readonly warnings: readonly string[]
  readonly usage: PromptUsage
}

export interface TokenizedPrompts {
  readonly job: EmbeddingsOfJob & Pick<Job, 'weighting' | 'empty'>
  readonly report: PromptReport
}

/** The prompts of a request: what each text encoder takes. */
export interface ReadPrompts {
  readonly reading: Reading
  /** First and second encoder; the same text unless the request has two. */
  readonly prompt: readonly ReadPrompt[]
  /** undefined for no negative prompt. The model treats an encoded empty text differently. */
  readonly negative: readonly ReadPrompt[] | undefined
}

/**
 * Tokenizes a request's prompts. What is too long is cut where it will be cut when all is compiled, so that a request
 * makes the same image before and after.
 *
 * @param truncate whether to truncate a prompt that is too long instead of refusing it
 * @throws EaselError PROMPT_TOO_LONG with the field and where it would be cut; INVALID_REQUEST or UNSUPPORTED_FEATURE
 *   for a syntax that is misused or that the workers do not support; NOT_READY for prompts whose programs are still
 *   being compiled
 */
export function tokenizePrompts(
  fields: PromptFields,
  tokenizers: SdxlTokenizers,
  model: Abilities,
  truncate: boolean
): TokenizedPrompts {
  const read = readPrompts(fields, tokenizers, model)
  const all = [...read.prompt, ...(read.negative ?? [])]
  const cut = all.filter(({ cutAt }) => cutAt !== undefined)
  if (cut[0] !== undefined && !truncate) throw promptTooLong(cut[0], read.reading, tokenizers, model)
  const { most } = read.reading
  const count = Math.min(most, Math.max(...all.map(({ chunks }) => chunks)))
  const idsOf = (prompts: readonly ReadPrompt[]) => tokenIds(prompts, read.reading, { most, count }, tokenizers)
  const prompt = idsOf(read.prompt)
  const negative = read.negative === undefined ? null : idsOf(read.negative)
  const weighted = needsWeights(prompt) || (negative !== null && needsWeights(negative))
  if (weighted) checkWeights(model)
  if (count > mostNow(read.reading, model)) throw chunksComing(all, read.reading, tokenizers, model)
  const { prompt_syntax: syntax } = fields
  return {
    job: {
      ...withEmbeddings({ prompt, negative }, read.reading.names, syntax === 'a1111'),
      ...(weighted && syntax !== 'plain' ? { weighting: syntax } : {}),
      ...(weighted && syntax === 'compel' ? { empty: emptyIds(tokenizers) } : {})
    },
    report: {
      truncated: cut.map(({ field }) => field),
      warnings: warningsOf(all, read.reading),
      usage: {
        chunks: count,
        tokens: Object.fromEntries(all.map(({ field, tokens }) => [field, tokens])),
        total: all.reduce((sum, { tokens, chunks }) => sum + tokens + 2 * chunks, 0)
      }
    }
  }
}

function checkWeights({ features, comingFeatures }: Abilities): void {
  const field = 'prompt_syntax'
  if (features.includes(PROMPT_WEIGHTS)) return
  if (comingFeatures.includes(PROMPT_WEIGHTS))
    throw new EaselError(
      'NOT_READY',
      'prompt_syntax must be plain for this prompt while the program for weights is still being compiled; retry later',
      { field, retryAfter: NOT_READY_RETRY_SECONDS }
    )
  throw new EaselError(
    'UNSUPPORTED_FEATURE',
    'prompt_syntax must be plain for this prompt: the workers do not apply weights',
    { field }
  )
}

/** The most chunks that the workers can encode now, of those that `reading` allows. */
function mostNow({ most }: Reading, { limits }: Pick<Capabilities, 'limits'>): number {
  return Math.min(most, limits.max_chunks ?? 1)
}

function chunksComing(
  prompts: readonly ReadPrompt[],
  reading: Reading,
  { tokenizers: [{ room }] }: SdxlTokenizers,
  model: Abilities
): EaselError {
  const now = mostNow(reading, model)
  const { field, tokens, chunks } = prompts.find((prompt) => prompt.chunks > now)!
  return new EaselError(
    'NOT_READY',
    `${field} has ${tokens} tokens in ${chunks} chunks of ${room}, and the programs for more than ${now} are still being compiled; retry later, or shorten it`,
    { field, retryAfter: NOT_READY_RETRY_SECONDS }
  )
}

/**
 * Reads all prompts, as long as they may be when all is compiled.
 *
 * @throws EaselError INVALID_REQUEST or UNSUPPORTED_EMBEDDING
 */
export function readPrompts(
  fields: PromptFields,
  tokenizers: SdxlTokenizers,
  model: Pick<Capabilities, 'features' | 'comingMaxChunks' | 'embeddings'>
): ReadPrompts {
  const { prompt_syntax: syntax } = fields
  const most = syntax === 'plain' ? 1 : model.comingMaxChunks
  const reading = { syntax, negative: false, most, names: embeddingNames(fields, model, tokenizers) }
  return {
    reading,
    prompt: readPair('prompt', fields.prompt, fields.prompt_2, reading, tokenizers),
    negative: hasNegative(fields, model)
      ? readPair(
          'negative_prompt',
          fields.negative_prompt,
          fields.negative_prompt_2,
          { ...reading, negative: true },
          tokenizers
        )
      : undefined
  }
}

/**
 * Whether a negative prompt is encoded. An unguided image ignores it. Except for `plain`, whose recipes are older, it
 * then must not make the prompt longer.
 */
function hasNegative(fields: PromptFields, model: Pick<Capabilities, 'features'>): boolean {
  if (fields.prompt_syntax !== 'plain' && !isGuided(fields, model)) return false
  const said = fields.negative_prompt !== '' || (fields.negative_prompt_2 ?? '') !== ''
  return said || fields.force_zeros_for_empty_prompt === false
}

function isGuided(fields: PromptFields, { features }: Pick<Capabilities, 'features'>): boolean {
  const { guidance_scale: guidance, guidance_start, guidance_end, num_inference_steps: steps } = fields
  const image = { guidance, guidance_start, guidance_end, steps, seeds: [0] }
  return rowsOf(image, features.includes(GUIDANCE_EMBEDDING)) > 1
}

/** An empty second text means the first, as in diffusers. */
function readPair(
  field: string,
  text: string,
  second: string | undefined,
  reading: Reading,
  tokenizers: SdxlTokenizers
): ReadPrompt[] {
  if (second === undefined || second === '') return [readPrompt(field, text, BOTH, reading, tokenizers)]
  return [readPrompt(field, text, [0], reading, tokenizers), readPrompt(`${field}_2`, second, [1], reading, tokenizers)]
}

function tokenIds(
  prompts: readonly ReadPrompt[],
  { syntax, names }: Reading,
  size: { readonly most: number; readonly count: number },
  tokenizers: SdxlTokenizers
): TokenIds {
  const [one, two] = prompts
    .flatMap(({ encoders }) => encoders)
    .map((encoder, index) => fitted(encoder, size, tokenizers.tokenizers[index]!))
  const ids_2 = two!.chunks.flatMap(({ ids }) => ids)
  // compel pools the text as it is written, with its weights.
  const pooled =
    syntax === 'compel'
      ? chunksOf(prompts.at(-1)!.text, [1], { syntax: 'plain', negative: false, names }, tokenizers)[0]!.chunks[0]!.ids
      : undefined
  return {
    ids: one!.chunks.flatMap(({ ids }) => ids),
    ids_2,
    ...optional('weights', weightsOf(one!.chunks)),
    ...optional('weights_2', weightsOf(two!.chunks)),
    ...optional('masked', one!.masked.length > 0 ? [...one!.masked] : undefined),
    ...optional('masked_2', two!.masked.length > 0 ? [...two!.masked] : undefined),
    ...optional('pooled_ids_2', pooled?.some((id, index) => id !== ids_2[index]) === true ? [...pooled] : undefined)
  }
}

function optional<K extends keyof TokenIds>(name: K, value: TokenIds[K] | undefined): Partial<Pick<TokenIds, K>> {
  return (value === undefined ? {} : { [name]: value }) as Partial<Pick<TokenIds, K>>
}

/** One weight for each id; undefined if all are 1. */
function weightsOf(chunks: readonly Chunk[]): number[] | undefined {
  const weights = chunks.flatMap((chunk) => chunk.weights)
  return weights.some((weight) => weight !== 1) ? weights : undefined
}

function emptyIds({ tokenizers: [first, second] }: SdxlTokenizers): TokenIds {
  return { ids: first.framed([]), ids_2: second.framed([]) }
}

function promptTooLong(
  prompt: ReadPrompt,
  reading: Reading,
  { tokenizers: [{ room }] }: SdxlTokenizers,
  { comingMaxChunks: most }: Pick<Capabilities, 'comingMaxChunks'>
): EaselError {
  const advice =
    reading.syntax === 'plain' && most > 1
      ? `Shorten it, send "truncate": true, or send "prompt_syntax": "a1111", which takes ${most * room} tokens`
      : 'Shorten it, or send "truncate": true'
  return new EaselError('PROMPT_TOO_LONG', `${prompt.field} ${describeCut(prompt, reading, room)}. ${advice}`, {
    field: prompt.field
  })
}

export function warningsOf(prompts: readonly ReadPrompt[], { syntax }: Pick<Reading, 'syntax'>): string[] {
  return prompts.flatMap(({ field, text }) => {
    const doubt = doubtOf(text, syntax)
    return doubt === undefined ? [] : [`${field} ${doubt}`]
  })
}
