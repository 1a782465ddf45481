/**
 * SDXL's two tokenizers. They share a vocabulary but pad differently, so a pad token spelled out in a prompt gets
 * different ids.
 */
import { join } from 'node:path'
import { ClipTokenizer, type Encoded, type WordMemo } from './clip-tokenizer.js'
import { EmbeddingNames, type NamedEmbedding } from './embedding-names.js'
import { SharedParts } from './shared-parts.js'

export interface SdxlEncoded extends Encoded {
  /** The second tokenizer's ids. `length` is the greater of the two; `kept` and `cut` follow the earlier cut. */
  readonly ids_2: number[]
}

export class SdxlTokenizers {
  /** In the order of the model's text encoders. */
  readonly tokenizers: readonly [ClipTokenizer, ClipTokenizer]
  readonly #names = new WeakMap<readonly NamedEmbedding[], EmbeddingNames<NamedEmbedding>>()

  constructor(first: ClipTokenizer, second: ClipTokenizer) {
    this.tokenizers = [first, second]
  }

  /**
   * @param folders of the first and the second tokenizer
   * @param shared parts to share with the tokenizers of other models
   * @throws Error that names the file and what is wrong with it
   */
  static async fromFolders(folders: readonly [string, string], shared = new SharedParts()): Promise<SdxlTokenizers> {
    const first = await ClipTokenizer.fromFolder(folders[0], shared)
    const second = await ClipTokenizer.fromFolder(folders[1], shared)
    return new SdxlTokenizers(first, second)
  }

  /** Reads `tokenizer/` and `tokenizer_2/` of a diffusers folder. @throws Error that names the file and what is wrong */
  static fromModelFolder(folder: string): Promise<SdxlTokenizers> {
    return SdxlTokenizers.fromFolders([join(folder, 'tokenizer'), join(folder, 'tokenizer_2')])
  }

  /** The names of embeddings, for these tokenizers; the same for the same list. Undefined for none. */
  namesOf<E extends NamedEmbedding>(embeddings: readonly E[]): EmbeddingNames<E> | undefined {
    if (embeddings.length === 0) return undefined
    const known = this.#names.get(embeddings) as EmbeddingNames<E> | undefined
    if (known !== undefined) return known
    const names = new EmbeddingNames(embeddings, Math.max(...this.tokenizers.map(({ size }) => size)))
    this.#names.set(embeddings, names)
    return names
  }

  encode(text: string): SdxlEncoded {
    const [first, second] = this.tokenizers
    const memo: WordMemo = new Map()
    const one = first.encode(text, memo)
    const two = second.encode(text, first.digest === second.digest ? memo : new Map())
    const { kept, cut } = one.kept.length <= two.kept.length ? one : two
    return {
      ids: one.ids,
      ids_2: two.ids,
      length: Math.max(one.length, two.length),
      truncated: one.truncated || two.truncated,
      kept,
      cut
    }
  }
}
