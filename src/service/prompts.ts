import { type Chunk, chunksOf, emptyChunk, type EncoderChunks, type EncoderIndex } from '../chunks/index.js'
import { EaselError } from '../errors.js'
import { PromptSyntaxError, type PromptSyntax } from '../prompt/index.js'
import type { Embedding } from '../workers/protocol.js'
import type { ClipTokenizer, EmbeddingNames, SdxlTokenizers } from '../tokenizer/index.js'

/** How much of the prompt an error shows before and after the cut, in UTF-16 units. */
const SHOWN_BEFORE = 30
const SHOWN_AFTER = 60

/** Most fragments with a weight below 1 in a compel prompt: each costs the worker a run of the text encoder. */
const MAX_LOWERED = 32

export interface Reading {
  readonly syntax: PromptSyntax
  readonly negative: boolean
  /** Most chunks that the prompt may have. */
  readonly most: number
  /** Of the embeddings that the prompt may name. */
  readonly names?: EmbeddingNames<Embedding> | undefined
}

/** One field's text as the text encoders that it is for take it. */
export interface ReadPrompt {
  readonly field: string
  readonly text: string
  /** For the first encoder, the second, or both. */
  readonly encoders: readonly EncoderChunks[]
  /** Tokens without start, end and padding; the larger number if the encoders differ. */
  readonly tokens: number
  readonly chunks: number
  /** The offset in the text from which nothing is kept; undefined if it fits. */
  readonly cutAt: number | undefined
}

export const BOTH = [0, 1] as const

/**
 * Splits a field's text into chunks. Does not cut it.
 *
 * @param which the text encoders that the text is for
 * @throws EaselError INVALID_REQUEST for what its syntax cannot mean here
 */
export function readPrompt(
  field: string,
  text: string,
  which: readonly EncoderIndex[],
  { syntax, negative, most, names }: Reading,
  tokenizers: SdxlTokenizers
): ReadPrompt {
  const encoders = refusing(field, () => chunksOf(text, which, { syntax, negative, names }, tokenizers))
  if (encoders.some(({ masked }) => masked.length > MAX_LOWERED))
    throw invalid(field, `has more than ${MAX_LOWERED} parts with a weight below 1: remove or join some`)
  return {
    field,
    text,
    encoders,
    tokens: Math.max(...encoders.map(({ chunks }) => chunks.reduce((sum, { tokens }) => sum + tokens, 0))),
    chunks: Math.max(...encoders.map(({ chunks }) => chunks.length)),
    cutAt: cutOf(encoders, text, most)
  }
}

/** The first `most` chunks, with empty ones added to make `count`. */
export function fitted(
  { chunks, masked }: EncoderChunks,
  { most, count }: { readonly most: number; readonly count: number },
  tokenizer: ClipTokenizer
): { readonly chunks: readonly Chunk[]; readonly masked: EncoderChunks['masked'] } {
  const kept = chunks.slice(0, most)
  const end = kept.length * tokenizer.maxLength
  const padding = Array.from({ length: count - kept.length }, () => emptyChunk(tokenizer))
  return {
    chunks: [...kept, ...padding],
    masked: masked.filter(([start]) => start < end).map(([start, stop]) => [start, Math.min(stop, end)])
  }
}

/** Says how long a prompt is and where it would be cut. The web page parses this text (view/words.ts). */
export function describeCut(
  { text, tokens, chunks, cutAt = text.length }: ReadPrompt,
  { syntax, most }: Reading,
  room: number
): string {
  const tail = JSON.stringify(text.slice(0, cutAt).slice(-SHOWN_BEFORE))
  const head = JSON.stringify(text.slice(cutAt, cutAt + SHOWN_AFTER))
  const length =
    syntax === 'plain'
      ? `has ${tokens + 2} tokens, including start and end tokens; the model takes ${room + 2}`
      : `has ${tokens} tokens in ${chunks} chunks of ${room}; the model takes ${most * room} in ${most}`
  return `${length}. It would be cut after ${tail}, before ${head}`
}

function cutOf(encoders: readonly EncoderChunks[], text: string, most: number): number | undefined {
  const cuts = encoders
    .filter(({ chunks }) => chunks.length > most)
    .map(({ chunks }) => chunks.slice(most).find(({ start }) => start !== undefined)?.start ?? text.length)
  return cuts.length === 0 ? undefined : Math.min(...cuts)
}

/** Reads part of a prompt. @throws EaselError INVALID_REQUEST with the field instead of a PromptSyntaxError */
export function refusing<T>(field: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof PromptSyntaxError ? invalid(field, error.message) : error
  }
}

export function invalid(field: string, message: string): EaselError {
  return new EaselError('INVALID_REQUEST', `${field} ${message}`, { field })
}
