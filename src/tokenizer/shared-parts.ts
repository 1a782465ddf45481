/** Parts that tokenizers can share, so that a model's second one costs almost nothing. */
import { Unicode } from './unicode.js'
import { Vocabulary, type TokenizerFiles } from './vocabulary.js'

export class SharedParts {
  readonly unicode = new Unicode()
  readonly #known: { readonly files: TokenizerFiles; readonly vocabulary: Vocabulary }[] = []

  /** The vocabulary of these files. Files with equal contents are parsed once. */
  vocabulary(files: TokenizerFiles): Vocabulary {
    const same = this.#known.find(({ files: { vocab, merges } }) => vocab === files.vocab && merges === files.merges)
    if (same !== undefined) return same.vocabulary
    const vocabulary = new Vocabulary(files)
    this.#known.push({ files, vocabulary })
    return vocabulary
  }
}
