/** Finds many words in a text, in time that does not depend on how many they are. */
import type { Finder, Stretch } from './added-tokens.js'

/** A node of a trie of UTF-16 units; white space of any length is one space. */
interface Node {
  readonly next: Map<string, Node>
  word?: Word
}

interface Word {
  readonly ids: readonly number[]
  /** Whether `word_1` and so on stand for its second id and so on. */
  readonly numbered: boolean
}

interface Match {
  readonly end: number
  readonly ids: readonly number[]
}

const SPACE = /\p{White_Space}/u

export class NameFinder implements Finder {
  readonly #root: Node = { next: new Map() }

  /**
   * @param added ids of the tokenizer's own added tokens
   * @param names ids of names, of which the earlier of two equal ones counts. `name_1` is its second id alone, unless
   *   that is a name too.
   */
  constructor(added: ReadonlyMap<string, readonly number[]>, names: Iterable<readonly [string, readonly number[]]>) {
    for (const [word, ids] of added) this.#add(word, { ids, numbered: false })
    for (const [name, ids] of names) this.#add(name.trim(), { ids, numbered: true })
  }

  *split(text: string): Generator<Stretch> {
    let start = 0
    for (let at = 0; at < text.length;) {
      const found = this.#longestAt(text, at)
      if (found === undefined) {
        at += 1
        continue
      }
      if (at > start) yield { start, end: at, ids: undefined }
      yield { start: at, ...found }
      start = at = found.end
    }
    if (start < text.length) yield { start, end: text.length, ids: undefined }
  }

  #add(word: string, value: Word): void {
    let node = this.#root
    for (let at = 0; at < word.length;) {
      const [unit, after] = unitAt(word, at)
      at = after
      let next = node.next.get(unit)
      if (next === undefined) node.next.set(unit, (next = { next: new Map() }))
      node = next
    }
    if (node !== this.#root) node.word ??= value
  }

  #longestAt(text: string, from: number): Match | undefined {
    let best: Match | undefined
    // No word begins with white space. This keeps long runs of it linear.
    if (SPACE.test(text[from]!)) return undefined
    let node: Node | undefined = this.#root
    for (let at = from; at < text.length;) {
      const [unit, after] = unitAt(text, at)
      at = after
      node = node.next.get(unit)
      if (node === undefined) break
      if (node.word === undefined) continue
      if (best === undefined || at >= best.end) best = { end: at, ids: node.word.ids }
      const vector = node.word.numbered ? vectorAt(text, at, node.word.ids) : undefined
      if (vector !== undefined && vector.end > best.end) best = vector
    }
    return best
  }
}

/** One of the vectors after the first, by its number: the longest number that there is. */
function vectorAt(text: string, from: number, ids: readonly number[]): Match | undefined {
  if (text[from] !== '_') return undefined
  let found: Match | undefined
  for (let end = from + 2, number = 0; end <= text.length; end++) {
    const digit = text.charCodeAt(end - 1) - 48
    number = 10 * number + digit
    if (digit < 0 || digit > 9 || number < 1 || number >= ids.length) break
    found = { end, ids: [ids[number]!] }
  }
  return found
}

/** A unit, or a space for all white space there, and the index after it. */
function unitAt(text: string, at: number): [unit: string, after: number] {
  const unit = text[at]!
  if (!SPACE.test(unit)) return [unit, at + 1]
  let after = at + 1
  while (after < text.length && SPACE.test(text[after]!)) after += 1
  return [' ', after]
}
