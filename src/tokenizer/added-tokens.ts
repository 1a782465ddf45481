/** Finding special tokens that are spelled out in a text. */

/** A token that is found in the text before it is cut into words. */
export interface AddedToken {
  readonly content: string
  /** Looked for in the normalized text, so in any case; else in the text as it came. */
  readonly normalized: boolean
}

/** A stretch of text: one added token, which has an id, or what lies between two. */
export interface Stretch {
  readonly start: number
  readonly end: number
  readonly id: number | undefined
}

export class AddedTokenFinder {
  readonly #ids: ReadonlyMap<string, number>
  readonly #pattern: RegExp | undefined

  /** Finds the spellings that `ids` has. */
  constructor(ids: ReadonlyMap<string, number>) {
    this.#ids = ids
    const longestFirst = [...ids.keys()].toSorted((a, b) => b.length - a.length)
    this.#pattern = ids.size === 0 ? undefined : new RegExp(longestFirst.map(escape).join('|'), 'gu')
  }

  /** Yields the stretches of `text` in order, without empty ones; of tokens that overlap, the leftmost and longest. */
  *split(text: string): Generator<Stretch> {
    let start = 0
    for (const match of this.#pattern === undefined ? [] : text.matchAll(this.#pattern)) {
      if (match.index > start) yield { start, end: match.index, id: undefined }
      start = match.index + match[0].length
      yield { start: match.index, end: start, id: this.#ids.get(match[0]) }
    }
    if (start < text.length) yield { start, end: text.length, id: undefined }
  }
}

function escape(content: string): string {
  return content.replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`)
}
