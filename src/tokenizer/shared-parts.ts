/** Parts that tokenizers can share, so that a model's second one costs almost nothing. */
import type { Bpe } from './bpe-files.js'
import { Unicode } from './unicode.js'
import { digestOf, Vocabulary } from './vocabulary.js'

export class SharedParts {
  readonly unicode = new Unicode()
  readonly #known = new Map<string, Vocabulary>()

  /** The vocabulary of a BPE. Equal ones share it. */
  vocabulary(bpe: Bpe): Vocabulary {
    const digest = digestOf(bpe)
    const known = this.#known.get(digest) ?? new Vocabulary(bpe)
    this.#known.set(digest, known)
    return known
  }
}
