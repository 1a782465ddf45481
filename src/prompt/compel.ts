/**
 * Reads weights as compel 2.5.1 does: `word+`, `word--`, `(some words)1.3`, `"some words"++`, `(some words).attend(0.5)`,
 * nested, and backslashes. What its grammar does not accept is text. Gives the same fragments. Source:
 * https://github.com/damian0815/compel/blob/v2.5.1/src/compel/prompt_parser.py#L414
 */
import { checkWeights, type Fragment, type Located, MAX_DEPTH, PromptSyntaxError, slice, tooDeep } from './fragment.js'
import { SPACES, toFloat } from './python-text.js'

const PLUS_BASE = 1.1
const MINUS_BASE = 0.9

/** Operators that mix several encodings or edit attention, and compel's way to name a LoRA. */
const OPERATOR = /(?<!\\)(?:\.(?:swap|blend|and|add)|\b(?:use|with)Lora)\s*\(/
const COMMA = new RegExp(`,[^${SPACES}]`, 'gu')
/** A sign is never left for a number: a run of signs is an operator by itself. */
const NUMBER = /(?:\p{Nd}+\.\p{Nd}*|\.\p{Nd}+)|\d+/uy
const SYNTAX: ReadonlySet<string | undefined> = new Set('()",.+-=')
const BLANK: ReadonlySet<string | undefined> = new Set(' \t\r\n\v\f')
const SKIPPED: ReadonlySet<string | undefined> = new Set(' \t\r\n')

const ONLY_SPACES = new RegExp(`^[${SPACES}]*$`)
const EMPTY: Located = { text: '', starts: [] }

/** Text, or parts whose weights are multiplied. */
type Node = Located | { readonly factor: number; readonly parts: readonly Node[] }

interface Parsed {
  readonly nodes: readonly Node[]
  readonly end: number
}

/** Fragments in order, at least one; neighbours differ in weight. @throws PromptSyntaxError */
export function parseCompel(prompt: string): readonly Fragment[] {
  const operator = OPERATOR.exec(prompt)?.[0]
  if (operator !== undefined)
    throw new PromptSyntaxError(
      `has ${operator}…), an operator of compel that Easel does not do; it reads weights: remove it, or escape it as \\${operator}`
    )
  const fragments = fused(flattened(new Reader(spacedAfterCommas(prompt), 0).prompt()))
  checkWeights(fragments)
  return fragments
}

/** Adds a space after each comma that lacks one. */
function spacedAfterCommas(prompt: string): Located {
  let text = ''
  const starts: number[] = []
  let from = 0
  const copy = (to: number): void => {
    text += prompt.slice(from, to)
    for (; from < to; from++) starts.push(from)
  }
  for (const { index } of prompt.matchAll(COMMA)) {
    copy(index + 1)
    text += ' '
    starts.push(from)
  }
  copy(prompt.length)
  return { text, starts }
}

/** Reads one text. Remembers what it found at each bracket, so that brackets that fail are not read again. */
class Reader {
  readonly #source: Located
  readonly #depth: number
  readonly #bracketed = new Map<number, Parsed | undefined>()
  readonly #quoted = new Map<number, Parsed | undefined>()

  /** @param depth brackets around the text */
  constructor(source: Located, depth: number) {
    this.#source = source
    this.#depth = depth
  }

  /** The whole text. What is not weighted goes by words. */
  prompt(): readonly Node[] {
    const { text } = this.#source
    const nodes: Node[] = []
    for (let at = this.#skip(0, BLANK); at < text.length; at = this.#skip(at, BLANK)) {
      const found = this.#attention(at, this.#depth) ?? this.#quotedAt(at) ?? this.#bracketedAt(at, this.#depth)
      const { nodes: read, end } = found ?? this.#freeWord(at)
      for (const node of read) nodes.push(node)
      at = end
    }
    return nodes
  }

  /** The whole text if it is what brackets may contain, otherwise undefined. */
  fragments(): readonly Node[] | undefined {
    const { nodes, end } = this.#fragmentsFrom(0, this.#depth)
    return end === this.#source.text.length ? nodes : undefined
  }

  /** As many elements as may stand in brackets, and the white space after them. */
  #fragmentsFrom(from: number, depth: number): Parsed {
    const nodes: Node[] = []
    for (let at = this.#skip(from); ; at = this.#skip(at)) {
      const found =
        this.#attention(at, depth) ??
        this.#bracketedAt(at, depth) ??
        this.#quotedAt(at) ??
        this.#word(at) ??
        this.#mark(at)
      if (found === undefined) return { nodes, end: at }
      for (const node of found.nodes) nodes.push(node)
      at = found.end
    }
  }

  /** A word, quotes or brackets followed by a weight. */
  #attention(at: number, depth: number): Parsed | undefined {
    const grouped = this.#quotedAt(at) ?? this.#bracketedAt(at, depth)
    const target = grouped ?? this.#word(at)
    if (target === undefined) return undefined
    const weight = this.#attend(target.end) ?? this.#operator(target.end, grouped !== undefined)
    return weight && { nodes: [{ factor: weight.factor, parts: target.nodes }], end: weight.end }
  }

  /** `.attend(weight)` */
  #attend(from: number): { factor: number; end: number } | undefined {
    const { text } = this.#source
    const at = this.#skip(from)
    if (!text.startsWith('.attend', at)) return undefined
    const bracket = this.#skip(at + '.attend'.length)
    if (text[bracket] !== '(') return undefined
    const operator = this.#operator(this.#skip(bracket + 1), true)
    const end = operator && this.#skip(operator.end)
    return end !== undefined && text[end] === ')' ? { factor: operator!.factor, end: end + 1 } : undefined
  }

  /** A run of plus or minus signs, or a number. */
  #operator(at: number, number: boolean): { factor: number; end: number } | undefined {
    const { text } = this.#source
    const sign = text[at]
    if (sign === '+' || sign === '-') {
      let end = at
      while (text[end] === sign) end += 1
      return { factor: (sign === '+' ? PLUS_BASE : MINUS_BASE) ** (end - at), end }
    }
    NUMBER.lastIndex = at
    const digits = number ? NUMBER.exec(text)?.[0] : undefined
    return digits === undefined ? undefined : { factor: toFloat(digits), end: at + digits.length }
  }

  #bracketedAt(at: number, depth: number): Parsed | undefined {
    if (this.#source.text[at] !== '(') return undefined
    if (this.#bracketed.has(at)) return this.#bracketed.get(at)
    if (depth === MAX_DEPTH) throw tooDeep()
    const { nodes, end } = this.#fragmentsFrom(at + 1, depth + 1)
    const found = this.#source.text[end] === ')' ? { nodes, end: end + 1 } : undefined
    this.#bracketed.set(at, found)
    return found
  }

  #quotedAt(at: number): Parsed | undefined {
    if (this.#source.text[at] !== '"') return undefined
    if (!this.#quoted.has(at)) this.#quoted.set(at, this.#readQuoted(at))
    return this.#quoted.get(at)
  }

  #readQuoted(at: number): Parsed | undefined {
    const end = this.#closingQuote(at)
    if (end === undefined) return undefined
    const inside = unquoted(slice(this.#source, at + 1, end))
    const nodes = ONLY_SPACES.test(inside.text) ? [EMPTY] : new Reader(inside, this.#depth).fragments()
    return nodes && { nodes, end: end + 1 }
  }

  /** The first quote on the line without a backslash before it, else the last one with. */
  #closingQuote(open: number): number | undefined {
    const { text } = this.#source
    let escaped: number | undefined
    for (let at = open + 1; at < text.length && text[at] !== '\n' && text[at] !== '\r'; at++) {
      if (text[at] === '"') return at
      if (text[at] === '\\' && text[at + 1] === '"') {
        at += 1
        escaped = at
      }
    }
    return escaped
  }

  /** A word without syntax. A sign inside a word belongs to it; at the end it is an operator. */
  #word(from: number): Parsed | undefined {
    const { text } = this.#source
    let at = from
    for (; at < text.length; at++) {
      const character = text[at]!
      const next = text[at + 1]
      if (character === '\\' && SYNTAX.has(next)) at += 1
      else if (character === '+' || character === '-') {
        if (next === undefined || SKIPPED.has(next) || SYNTAX.has(next)) break
      } else if (BLANK.has(character) || SYNTAX.has(character)) break
    }
    return at === from ? undefined : { nodes: [slice(this.#source, from, at)], end: at }
  }

  #mark(at: number): Parsed | undefined {
    const character = this.#source.text[at]
    return character === ',' || character === '.'
      ? { nodes: [slice(this.#source, at, at + 1)], end: at + 1 }
      : undefined
  }

  #freeWord(at: number): Parsed {
    const { text } = this.#source
    let end = at
    while (end < text.length && !BLANK.has(text[end])) end += 1
    return { nodes: [slice(this.#source, at, end)], end }
  }

  #skip(from: number, blanks = SKIPPED): number {
    let at = from
    while (blanks.has(this.#source.text[at])) at += 1
    return at
  }
}

const ESCAPED_BLANKS: Readonly<Record<string, string>> = { t: '\t', n: '\n', f: '\f', r: '\r' }

/** What stands between quotes: backslash and t, n, f or r are white space, and quotes in it are escaped. */
function unquoted({ text, starts }: Located): Located {
  const characters: string[] = []
  const kept: number[] = []
  const add = (character: string, at: number): void => {
    characters.push(character)
    kept.push(starts[at]!)
  }
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!
    const blank = character === '\\' ? ESCAPED_BLANKS[text[at + 1] ?? ''] : undefined
    if (blank === undefined) add(character, at)
    else add(blank, at++)
  }
  return { text: characters.join(''), starts: kept }
}

function flattened(nodes: readonly Node[]): Fragment[] {
  const fragments: Fragment[] = []
  const walk = (node: Node, weight: number): void => {
    if ('text' in node) fragments.push({ ...node, weight })
    else for (const part of node.parts) walk(part, weight * node.factor)
  }
  for (const node of nodes) walk(node, 1)
  return fragments
}

/** Joins neighbours of equal weight with a space. */
function fused(fragments: readonly Fragment[]): Fragment[] {
  const runs: Fragment[][] = []
  for (const fragment of fragments) {
    if (runs.at(-1)?.[0]!.weight === fragment.weight) runs.at(-1)!.push(fragment)
    else runs.push([fragment])
  }
  const joined = runs.map(joinRun)
  return joined.length > 0 ? joined : [{ text: '', starts: [], weight: 1 }]
}

/**
 * compel unescapes a text each time that it makes a fragment of it: when it reads it, when it flattens it, and with each
 * fragment that it joins to it.
 */
function joinRun(run: readonly Fragment[]): Fragment {
  const texts: string[] = []
  const starts: number[] = []
  for (const [index, fragment] of run.entries()) {
    const piece = unescaped(fragment, 2 + run.length - Math.max(1, index))
    if (index > 0) starts.push(fragment.starts[0] ?? starts.at(-1) ?? 0)
    texts.push(piece.text)
    for (const start of piece.starts) starts.push(start)
  }
  return { text: texts.join(' '), starts, weight: run[0]!.weight }
}

/** Removes up to `times` of the backslashes before a bracket or quote. */
function unescaped(source: Located, times: number): Located {
  let text = ''
  const starts: number[] = []
  for (const match of source.text.matchAll(/\\+[()"]?|[^\\]+/g)) {
    const [token] = match
    const escapes = token.startsWith('\\') && !token.endsWith('\\') ? Math.min(times, token.length - 1) : 0
    text += token.slice(escapes)
    for (let at = match.index + escapes; at < match.index + token.length; at++) starts.push(source.starts[at]!)
  }
  return { text, starts }
}
