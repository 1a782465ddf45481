/**
 * Reads weights as AUTOMATIC1111's web UI does: `(text)` times 1.1, `[text]` divided by 1.1, `(text:1.3)`, backslashes
 * for brackets that are text, and BREAK. Gives the same fragments, also for unbalanced brackets. Source:
 * https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/prompt_parser.py#L353
 */
import {
  checkWeights,
  type Fragment,
  MAX_DEPTH,
  PromptSyntaxError,
  located,
  slice,
  type Located,
  tooDeep
} from './fragment.js'
import { isSpace, SPACES, toFloat, wholeWord } from './python-text.js'

const TOKEN = new RegExp(
  String.raw`\\[()[\]\\]?|[([]|:[${SPACES}]*([+-]?[.\p{Nd}]+)[${SPACES}]*\)|[\])]|[^\\()[\]:]+|:`,
  'gu'
)

const ROUND = 1.1
const SQUARE = 1 / 1.1

/** The text and weight of the fragment that starts a new chunk. Inside brackets its weight changes: it is a word then. */
const BREAK = { text: 'BREAK', weight: -1 }

const BREAKS = wholeWord(BREAK.text, 'gu')

export function isBreak({ text, weight }: Fragment): boolean {
  return text === BREAK.text && weight === BREAK.weight
}

/** Whether brackets around a BREAK have made it a word. */
export function hasWordBreak(fragments: readonly Fragment[]): boolean {
  return fragments.some((fragment) => fragment.text === BREAK.text && fragment.weight < 0 && !isBreak(fragment))
}

/** Fragments in order, at least one; neighbours differ in weight. @throws PromptSyntaxError */
export function parseA1111(prompt: string): readonly Fragment[] {
  return parseLocated(located(prompt))
}

/** The same for part of a prompt. @throws PromptSyntaxError */
export function parseLocated(whole: Located): readonly Fragment[] {
  const found = new Weighted()
  const round: number[] = []
  const square: number[] = []
  for (const match of whole.text.matchAll(TOKEN)) {
    const [token, weight] = match
    const at = match.index
    const roundStart = weight !== undefined || token === ')' ? round.pop() : undefined
    const squareStart = token === ']' ? square.pop() : undefined
    if (token.startsWith('\\')) found.add(slice(whole, at + 1, at + token.length))
    else if (token === '(') open(round, found)
    else if (token === '[') open(square, found)
    else if (roundStart !== undefined) found.multiply(roundStart, weight === undefined ? ROUND : numberIn(weight))
    else if (squareStart !== undefined) found.multiply(squareStart, SQUARE)
    else found.addText(slice(whole, at, at + token.length))
  }
  for (const start of round) found.multiply(start, ROUND)
  for (const start of square) found.multiply(start, SQUARE)
  const fragments = found.merged()
  checkWeights(fragments)
  return fragments
}

function open(stack: number[], found: Weighted): void {
  if (stack.length === MAX_DEPTH) throw tooDeep()
  stack.push(found.length)
}

function numberIn(text: string): number {
  const number = toFloat(text)
  if (Number.isNaN(number)) throw new PromptSyntaxError(`has the weight ${text}, which is not a number`)
  return number
}

/** Pieces of text whose weights still change. */
class Weighted {
  readonly #pieces: Located[] = []
  readonly #weights: number[] = []

  get length(): number {
    return this.#pieces.length
  }

  add(piece: Located, weight = 1): void {
    this.#pieces.push(piece)
    this.#weights.push(weight)
  }

  /** Adds text, split at BREAK. The white space around BREAK belongs to it. */
  addText(text: Located): void {
    // Most pieces are a single bracket.
    if (!text.text.includes(BREAK.text)) {
      this.add(text)
      return
    }
    let start = 0
    for (const { index } of text.text.matchAll(BREAKS)) {
      let end = index
      while (end > start && isSpace(text.text[end - 1])) end -= 1
      this.add(slice(text, start, end))
      start = index + BREAK.text.length
      this.add(slice(text, index, start), BREAK.weight)
      while (isSpace(text.text[start])) start += 1
    }
    this.add(slice(text, start, text.text.length))
  }

  multiply(from: number, factor: number): void {
    for (let index = from; index < this.#weights.length; index++) this.#weights[index]! *= factor
  }

  /** Joins neighbours of equal weight. */
  merged(): Fragment[] {
    const merged: { text: string; starts: number[]; weight: number }[] = []
    for (const [index, { text, starts }] of this.#pieces.entries()) {
      const weight = this.#weights[index]!
      const last = merged.at(-1)
      if (last?.weight === weight) {
        last.text += text
        for (const start of starts) last.starts.push(start)
      } else merged.push({ text, starts: [...starts], weight })
    }
    return merged.length > 0 ? merged : [{ text: '', starts: [], weight: 1 }]
  }
}
