/** Finds the names of embeddings (textual inversions) in prompts: their vectors take the place of tokens. */
import type { Finder } from './added-tokens.js'
import type { ClipTokenizer } from './clip-tokenizer.js'

/** An embedding as prompts know it. */
export interface NamedEmbedding {
  readonly name: string
  readonly vectors: number
}

/** An embedding and the ids of its vectors, which are beyond the tokenizers'. */
export interface PlacedEmbedding<E extends NamedEmbedding = NamedEmbedding> {
  readonly embedding: E
  readonly ids: readonly number[]
}

/** Vectors in the place of tokens. */
export interface FoundVectors {
  readonly ids: readonly number[]
  /** How many tokens the name has. */
  readonly length: number
}

/** A node of a trie of tokens: where a name ends, its vectors. */
interface Node {
  readonly next: Map<number, Node>
  vectors?: readonly number[]
}

export class EmbeddingNames<E extends NamedEmbedding = NamedEmbedding> {
  /** The first id of all. */
  readonly firstId: number
  readonly #placed: readonly PlacedEmbedding<E>[]
  /** The vectors of each spelling; names come before their last parts, and in order. */
  readonly #spellings: ReadonlyMap<string, readonly number[]>
  readonly #finders = new Map<ClipTokenizer, Finder>()
  readonly #spelled = new Map<ClipTokenizer, Node>()

  /**
   * @param embeddings in order of their names
   * @param firstId of the first one's first vector; the others follow
   */
  constructor(embeddings: readonly E[], firstId: number) {
    this.firstId = firstId
    let next = firstId
    this.#placed = embeddings.map((embedding) => {
      const start = next
      next += embedding.vectors
      return { embedding, ids: Array.from({ length: embedding.vectors }, (_, index) => start + index) }
    })
    this.#spellings = spellingsOf(this.#placed)
  }

  /**
   * Finds names as diffusers does, which adds them to the tokenizer: in any case and also inside words, the longest
   * first. `name_1` and so on are its other vectors alone. Source:
   * https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/loaders/textual_inversion.py#L154
   */
  finder(tokenizer: ClipTokenizer): Finder {
    return once(this.#finders, tokenizer, () => tokenizer.finderWith(this.#spellings))
  }

  /**
   * Finds the name at a position among a text's tokens as AUTOMATIC1111's web UI does: by the tokens of the name, the
   * longest first. Source:
   * https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/textual_inversion/textual_inversion.py#L265
   */
  at(tokens: readonly number[], position: number, tokenizer: ClipTokenizer): FoundVectors | undefined {
    let node: Node | undefined = once(this.#spelled, tokenizer, () => trieOf(this.#spellings, tokenizer))
    let found: FoundVectors | undefined
    for (let length = 0; node !== undefined; length++) {
      if (node.vectors !== undefined) found = { ids: node.vectors, length }
      node = node.next.get(tokens[position + length]!)
    }
    return found
  }

  /** The embeddings that have any of these ids, in order of their names. */
  usedIn(ids: readonly number[]): PlacedEmbedding<E>[] {
    const used = new Set(ids)
    return this.#placed.filter((placed) => placed.ids.some((id) => used.has(id)))
  }
}

/** By its name; also by the part after the last / if only one has it and no name is that. */
function spellingsOf(placed: readonly PlacedEmbedding[]): Map<string, readonly number[]> {
  const spellings = new Map(placed.map(({ embedding, ids }) => [embedding.name, ids]))
  const parts = placed.map(({ embedding: { name } }) => name.slice(name.lastIndexOf('/') + 1))
  for (const [index, part] of parts.entries())
    if (!spellings.has(part) && parts.filter((other) => other === part).length === 1)
      spellings.set(part, placed[index]!.ids)
  return spellings
}

/** The names by their tokens; of two with the same tokens the earlier one counts. */
function trieOf(spellings: ReadonlyMap<string, readonly number[]>, tokenizer: ClipTokenizer): Node {
  const root: Node = { next: new Map() }
  for (const [name, vectors] of spellings) {
    let node = root
    for (const token of tokenizer.tokens(name).ids) {
      let next = node.next.get(token)
      if (next === undefined) node.next.set(token, (next = { next: new Map() }))
      node = next
    }
    if (node !== root) node.vectors ??= vectors
  }
  return root
}

function once<K, V>(made: Map<K, V>, key: K, make: () => V): V {
  const known = made.get(key)
  if (known !== undefined) return known
  const value = make()
  made.set(key, value)
  return value
}
