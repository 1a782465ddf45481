/** A byte-level BPE vocabulary with look-ups by id, spelling and rank. */
import { createHash } from 'node:crypto'
import type { Bpe } from './bpe-files.js'
import { BYTE_ALPHABET } from './byte-alphabet.js'

/** The suffix of tokens that end a word. */
const END_OF_WORD = '</w>'

export class Vocabulary {
  /** SHA-256 (hex) of tokens and merges. The worker computes it too, to detect a mismatch (protocol/README.md). */
  readonly digest: string
  readonly size: number
  readonly #bpe: Bpe
  readonly #ids: ReadonlyMap<string, number>
  readonly #ranks = new Map<number, number>()
  readonly #merged: number[] = []
  readonly #inner: readonly number[]
  readonly #final: readonly number[]

  /** @throws Error when the vocabulary lacks a byte or a token of a merge */
  constructor(bpe: Bpe) {
    this.digest = digestOf(bpe)
    this.size = bpe.tokens.length
    this.#bpe = bpe
    this.#ids = new Map(bpe.tokens.map((token, id) => [token, id]))
    this.#inner = BYTE_ALPHABET.map((character) => this.id(character))
    this.#final = BYTE_ALPHABET.map((character) => this.id(character + END_OF_WORD))
    for (const merge of bpe.merges) this.#addMerge(merge)
  }

  /** @throws Error when the vocabulary lacks `token` */
  id(token: string): number {
    const id = this.#ids.get(token)
    if (id === undefined)
      throw new Error(`${this.#bpe.file} has no token ${JSON.stringify(token)}, which a CLIP tokenizer needs`)
    return id
  }

  token(id: number): string {
    return this.#bpe.tokens[id] as string
  }

  /** The id of a byte; `last` if it is the last of its word. */
  byteId(byte: number, last: boolean): number {
    return (last ? this.#final : this.#inner)[byte] as number
  }

  /** The index in the list of merges of `left` followed by `right`. */
  rank(left: number, right: number): number | undefined {
    return this.#ranks.get(left * this.size + right)
  }

  /** The id that the merge of that rank produces. */
  merged(rank: number): number {
    return this.#merged[rank] as number
  }

  /** Number of bytes of text that a token stands for. Not for special tokens. */
  byteLength(id: number): number {
    const token = this.token(id)
    return token.endsWith(END_OF_WORD) ? token.length - END_OF_WORD.length : token.length
  }

  #addMerge(merge: string): void {
    const [left, right] = merge.split(' ') as [string, string]
    // As in the reference, the later of two equal merges wins and both take up a rank.
    this.#ranks.set(this.id(left) * this.size + this.id(right), this.#merged.length)
    this.#merged.push(this.id(left + right))
  }
}

/** See `Vocabulary.digest`. */
export function digestOf({ tokens, merges }: Bpe): string {
  return createHash('sha256')
    .update(`${tokens.join('\n')}\n\n${merges.join('\n')}`)
    .digest('hex')
}
