/** Finds special tokens spelled out in a text. */

/** A token matched in the text before the split into words. */
export interface AddedToken {
  readonly content: string
  /** Whether to match in the normalized text, and so in any case, rather than in the source text. */
  readonly normalized: boolean
}

/** A stretch of text: an added token, with its ids, or the text between two. */
export interface Stretch {
  readonly start: number
  readonly end: number
  readonly ids: readonly number[] | undefined
}

/** Finds added tokens in a text. */
export interface Finder {
  /** Yields the non-empty stretches of `text` in order. If tokens overlap, the leftmost, then the longest, wins. */
  split: (text: string) => Iterable<Stretch>
}

export class AddedTokenFinder implements Finder {
  readonly #ids: ReadonlyMap<string, readonly number[]>
  readonly #pattern: RegExp | undefined

  /** @param ids of each spelling to find */
  constructor(ids: ReadonlyMap<string, readonly number[]>) {
    this.#ids = ids
    const longestFirst = [...ids.keys()].toSorted((a, b) => b.length - a.length)
    this.#pattern = ids.size === 0 ? undefined : new RegExp(longestFirst.map(escape).join('|'), 'gu')
  }

  *split(text: string): Generator<Stretch> {
    let start = 0
    for (const match of this.#pattern === undefined ? [] : text.matchAll(this.#pattern)) {
      if (match.index > start) yield { start, end: match.index, ids: undefined }
      start = match.index + match[0].length
      yield { start: match.index, end: start, ids: this.#ids.get(match[0]) }
    }
    if (start < text.length) yield { start, end: text.length, ids: undefined }
  }
}

function escape(content: string): string {
  return content.replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`)
}
