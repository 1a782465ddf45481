/** A byte-level BPE vocabulary, read from `vocab.json` and `merges.txt`. */
import { createHash } from 'node:crypto'
import { BYTE_ALPHABET } from './byte-alphabet.js'
import { parseObject } from './text-file.js'

/** The suffix of tokens that end a word. */
const END_OF_WORD = '</w>'

/** A lone surrogate, which UTF-8 cannot encode. */
const HALF_PAIR = /\p{Surrogate}/u

/** The contents of `vocab.json` and `merges.txt`. */
export interface TokenizerFiles {
  readonly vocab: string
  readonly merges: string
}

export class Vocabulary {
  /** SHA-256 (hex) of tokens and merges. The worker computes it too, to detect a mismatch (protocol/README.md). */
  readonly digest: string
  readonly size: number
  readonly #ids: ReadonlyMap<string, number>
  readonly #tokens: readonly string[]
  readonly #ranks = new Map<number, number>()
  readonly #merged: number[] = []
  readonly #inner: readonly number[]
  readonly #final: readonly number[]

  /** @throws Error that says what is wrong with the files */
  constructor(files: TokenizerFiles) {
    this.#tokens = parseTokens(files.vocab)
    this.size = this.#tokens.length
    this.#ids = new Map(this.#tokens.map((token, id) => [token, id]))
    this.#inner = BYTE_ALPHABET.map((character) => this.id(character))
    this.#final = BYTE_ALPHABET.map((character) => this.id(character + END_OF_WORD))
    const merges = parseMerges(files.merges)
    for (const merge of merges) this.#addMerge(merge)
    const text = `${this.#tokens.join('\n')}\n\n${merges.join('\n')}`
    this.digest = createHash('sha256').update(text).digest('hex')
  }

  /** @throws Error when the vocabulary lacks `token` */
  id(token: string): number {
    const id = this.#ids.get(token)
    if (id === undefined)
      throw new Error(`vocab.json has no token ${JSON.stringify(token)}, which a CLIP tokenizer needs`)
    return id
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
    const token = this.#tokens[id] as string
    return token.endsWith(END_OF_WORD) ? token.length - END_OF_WORD.length : token.length
  }

  #addMerge(merge: string): void {
    const [left, right, ...rest] = merge.split(' ')
    if (left === undefined || right === undefined || rest.length > 0) {
      throw new Error(`merges.txt has the line ${JSON.stringify(merge)}, which is not two tokens`)
    }
    // As in the reference, the later of two equal lines wins and both take up a rank.
    this.#ranks.set(this.id(left) * this.size + this.id(right), this.#merged.length)
    this.#merged.push(this.id(left + right))
  }
}

/** The tokens in order of their ids, which must be consecutive from 0. */
function parseTokens(json: string): string[] {
  const tokens: string[] = []
  for (const [token, id] of Object.entries(parseObject('vocab.json', json))) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0)
      throw new Error(`vocab.json has the id ${JSON.stringify(id)}, which is not a whole number`)
    if (HALF_PAIR.test(token)) throw new Error(`vocab.json has a token that is not Unicode: ${JSON.stringify(token)}`)
    if (tokens[id] !== undefined) throw new Error(`vocab.json gives the id ${id} twice`)
    tokens[id] = token
  }
  const gap = tokens.findIndex((token) => token === undefined)
  if (gap >= 0) throw new Error(`vocab.json has no token with the id ${gap}, but has higher ids`)
  return tokens
}

/** Splits lines at LF or CRLF, as transformers does. It would take a file with CR only for one comment line. */
function parseMerges(text: string): string[] {
  const lines = text.split(/\r?\n/)
  if (lines.some((line) => line.includes('\r')))
    throw new Error('merges.txt has a CR without an LF: save it with LF or CRLF line ends')
  return lines.filter((line) => line !== '' && !line.startsWith('#version'))
}
