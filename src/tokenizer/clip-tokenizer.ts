/**
 * CLIP's tokenizer. Produces the same ids as transformers' CLIPTokenizer. Source:
 * https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/tokenization_clip.py#L28
 */
import { AddedTokenFinder, type Finder } from './added-tokens.js'
import { mergeWord } from './bpe.js'
import { explain, readTokenizerFolder } from './folder.js'
import { NameFinder } from './name-finder.js'
import { normalize, type Normalized } from './normalize.js'
import type { TokenizerConfig } from './config.js'
import type { EmbeddingNames } from './embedding-names.js'
import { SharedParts } from './shared-parts.js'
import type { Unicode } from './unicode.js'
import type { Vocabulary } from './vocabulary.js'
import { words } from './words.js'

export interface Encoded {
  /** `maxLength` ids: start, text, end, padding. */
  readonly ids: number[]
  /** Number of ids of the whole text with start and end. Exceeds `maxLength` if truncated. */
  readonly length: number
  readonly truncated: boolean
  /** The part of the text that the ids cover, and the rest. Concatenated, they are the source text. */
  readonly kept: string
  readonly cut: string
}

/** Tokens, and the offset in the text at which each begins. */
export interface Tokens {
  readonly ids: readonly number[]
  readonly starts: readonly number[]
}

/** The start and end tokens. */
const ENDS = 2

/** Ids of words already encoded. Use one for each text, to bound its size. Share it only within one vocabulary. */
export type WordMemo = Map<string, readonly number[]>

/** A word or what was added, and its offset in the source text. */
interface Piece {
  readonly ids: readonly number[]
  readonly start: number
  /** The word in its normalized stretch. Undefined for what was added, whose ids all begin where it does. */
  readonly word?: { readonly stretch: Normalized; readonly from: number }
}

export class ClipTokenizer {
  readonly padId: number
  readonly eosId: number
  readonly maxLength: number
  /** Number of tokens between start and end. */
  readonly room: number
  /** See `Vocabulary.digest`. */
  readonly digest: string
  /** Ids are below it. */
  readonly size: number
  readonly #vocabulary: Vocabulary
  readonly #unicode: Unicode
  readonly #bosId: number
  readonly #added: ReadonlyMap<string, readonly number[]>
  readonly #raw: AddedTokenFinder
  readonly #normalized: AddedTokenFinder

  constructor(vocabulary: Vocabulary, config: TokenizerConfig, unicode: Unicode) {
    this.padId = vocabulary.id(config.pad)
    this.maxLength = config.maxLength
    this.room = config.maxLength - ENDS
    this.digest = vocabulary.digest
    this.size = vocabulary.size
    this.#vocabulary = vocabulary
    this.#unicode = unicode
    this.#bosId = vocabulary.id(config.bos)
    this.eosId = vocabulary.id(config.eos)
    const [raw, normalized] = [new Map<string, [number]>(), new Map<string, [number]>()]
    for (const token of config.added) {
      const id = vocabulary.id(token.content)
      if (token.normalized) normalized.set(normalize(token.content, 0, unicode).text, [id])
      else raw.set(token.content, [id])
    }
    this.#added = normalized
    this.#raw = new AddedTokenFinder(raw)
    this.#normalized = new AddedTokenFinder(normalized)
  }

  /** @throws Error that names the file and what is wrong with it */
  static async fromFolder(folder: string, shared = new SharedParts()): Promise<ClipTokenizer> {
    const { bpe, config } = await readTokenizerFolder(folder)
    return explain(folder, () => new ClipTokenizer(shared.vocabulary(bpe), config, shared.unicode))
  }

  encode(text: string, memo: WordMemo = new Map()): Encoded {
    const { ids, starts } = this.tokens(text, memo)
    const truncated = ids.length > this.room
    const end = truncated ? starts[this.room] : text.length
    const length = ids.length + ENDS
    return {
      ids: this.framed(ids.slice(0, this.room)),
      length,
      truncated,
      kept: text.slice(0, end),
      cut: text.slice(end)
    }
  }

  /**
   * All tokens of a text, of any length, without start, end and padding.
   *
   * @param names of embeddings, whose vectors take the place of tokens
   */
  tokens(text: string, memo: WordMemo = new Map(), names?: EmbeddingNames): Tokens {
    const ids: number[] = []
    const starts: number[] = []
    const finder = names?.finder(this) ?? this.#normalized
    for (const piece of this.#pieces(text, memo, finder)) {
      for (const id of piece.ids) ids.push(id)
      this.#addStarts(piece, starts)
    }
    return { ids, starts }
  }

  /** Start, at most `room` ids, end, and padding: `maxLength` ids. */
  framed(ids: readonly number[]): number[] {
    const padding = Array.from({ length: this.room - ids.length }, () => this.padId)
    return [this.#bosId, ...ids, this.eosId, ...padding]
  }

  /** A token as the vocabulary spells it, with `</w>` at the end of a word; empty for an embedding's vector. */
  spelling(id: number): string {
    return id < this.size ? this.#vocabulary.token(id) : ''
  }

  /** Finds these names too, in any case, as the reference does after they were added to it. */
  finderWith(names: ReadonlyMap<string, readonly number[]>): Finder {
    const normalized = [...names].map(([name, ids]) => [normalize(name, 0, this.#unicode).text, ids] as const)
    return new NameFinder(this.#added, normalized)
  }

  *#pieces(text: string, memo: WordMemo, finder: Finder): Generator<Piece> {
    for (const { start, end, ids } of this.#raw.split(text)) {
      if (ids !== undefined) yield { ids, start }
      else yield* this.#stretchPieces(normalize(text.slice(start, end), start, this.#unicode), memo, finder)
    }
  }

  *#stretchPieces(stretch: Normalized, memo: WordMemo, finder: Finder): Generator<Piece> {
    for (const { start, end, ids: added } of finder.split(stretch.text)) {
      if (added !== undefined) {
        yield { ids: added, start: stretch.starts[start] as number }
        continue
      }
      for (const [from, to] of words(stretch.text, start, end, this.#unicode)) {
        const ids = this.#wordIds(stretch.text.slice(from, to), memo)
        yield { ids, start: stretch.starts[from] as number, word: { stretch, from } }
      }
    }
  }

  #wordIds(word: string, memo: WordMemo): readonly number[] {
    const known = memo.get(word)
    if (known !== undefined) return known
    const ids = mergeWord(Buffer.from(word), this.#vocabulary)
    memo.set(word, ids)
    return ids
  }

  /** Adds for each id the source offset of the first character that the ids before it do not cover completely. */
  #addStarts({ ids, start, word }: Piece, offsets: number[]): void {
    if (word === undefined) {
      for (let index = 0; index < ids.length; index++) offsets.push(start)
      return
    }
    offsets.push(start)
    const { text, starts } = word.stretch
    let unit = word.from
    let uncovered = 0
    for (let index = 1; index < ids.length; index++) {
      uncovered += this.#vocabulary.byteLength(ids[index - 1] as number)
      for (;;) {
        const point = text.codePointAt(unit) as number
        const bytes = byteLength(point)
        if (bytes > uncovered) break
        uncovered -= bytes
        unit += point > 0xff_ff ? 2 : 1
      }
      offsets.push(starts[unit] as number)
    }
  }
}

/** In UTF-8. */
function byteLength(point: number): number {
  if (point < 0x80) return 1
  if (point < 0x8_00) return 2
  return point < 0x1_00_00 ? 3 : 4
}
