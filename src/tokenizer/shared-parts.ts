/** What tokenizers can have in common, so that a model's second one costs next to nothing. */
import { Unicode } from './unicode.js'
import { Vocabulary, type TokenizerFiles } from './vocabulary.js'

export class SharedParts {
  readonly unicode = new Unicode()
  readonly #known: { readonly files: TokenizerFiles; readonly vocabulary: Vocabulary }[] = []

  /** The vocabulary of these files, parsed once for equal contents. */
  vocabulary(files: TokenizerFiles): Vocabulary {
    const same = this.#known.find(({ files: { vocab, merges } }) => vocab === files.vocab && merges === files.merges)
    if (same !== undefined) return same.vocabulary
    const vocabulary = new Vocabulary(files)
    this.#known.push({ files, vocabulary })
    return vocabulary
  }
}
