import type { Fragment } from '../prompt/index.js'
import type { ClipTokenizer, EmbeddingNames, Tokens, WordMemo } from '../tokenizer/index.js'

/** As many tokens of a prompt as a text encoder takes at once, for one encoder. */
export interface Chunk {
  /** Start, tokens, end, padding. */
  readonly ids: readonly number[]
  /** One for each id; 1 for start, end and padding. */
  readonly weights: readonly number[]
  /** Number of tokens without start, end and padding. */
  readonly tokens: number
  /** The offset in the prompt at which its first token begins; undefined for a chunk without tokens. */
  readonly start: number | undefined
}

/** Tokens on their way into a chunk: parallel lists. */
export class Filling {
  ids: number[] = []
  weights: number[] = []
  starts: number[] = []

  get length(): number {
    return this.ids.length
  }

  push(id: number, weight: number, start: number): void {
    this.ids.push(id)
    this.weights.push(weight)
    this.starts.push(start)
  }

  /** Removes and returns the tokens from `index` on. */
  cutFrom(index: number): Filling {
    const rest = new Filling()
    rest.ids = this.ids.splice(index)
    rest.weights = this.weights.splice(index)
    rest.starts = this.starts.splice(index)
    return rest
  }

  /** The tokens from `from` up to `to`. */
  part(from: number, to: number): Filling {
    const part = new Filling()
    part.ids = this.ids.slice(from, to)
    part.weights = this.weights.slice(from, to)
    part.starts = this.starts.slice(from, to)
    return part
  }

  chunk(tokenizer: ClipTokenizer): Chunk {
    const ones = Array.from({ length: tokenizer.room - this.length }, () => 1)
    return {
      ids: tokenizer.framed(this.ids),
      weights: [1, ...this.weights, 1, ...ones],
      tokens: this.length,
      start: this.starts[0]
    }
  }
}

/**
 * A fragment's tokens with where they begin in the prompt.
 *
 * @param names of embeddings to find as diffusers does
 */
export function tokensOf(
  { text, starts }: Fragment,
  tokenizer: ClipTokenizer,
  memo: WordMemo,
  names?: EmbeddingNames
): Tokens {
  const found = tokenizer.tokens(text, memo, names)
  return { ids: found.ids, starts: found.starts.map((start) => starts[start]!) }
}

/** The chunk of an empty text. */
export function emptyChunk(tokenizer: ClipTokenizer): Chunk {
  return new Filling().chunk(tokenizer)
}
