/** How weights are written: `(red:1.1)` in AUTOMATIC1111's web UI, `(red)1.1` in compel. */
export type WeightSyntax = 'a1111' | 'compel'

/** Replaces part of a text, then selects part of the result. */
export interface Edit {
  readonly from: number
  readonly to: number
  readonly text: string
  readonly select: readonly [start: number, end: number]
}

/** A weighted part of a text: its brackets from `from` to `to`, and the text inside. */
interface Weighted {
  readonly from: number
  readonly to: number
  readonly inside: readonly [start: number, end: number]
  readonly weight: number
}

const STEP = 0.1

/** Characters at which a word ends, as in AUTOMATIC1111's web UI. */
const DELIMITERS = /[.,\\/!?%^*;:{}=`~()[\]\s]/

/** What may follow the text inside of a bracket. */
const ENDS: Readonly<Record<WeightSyntax, RegExp>> = {
  a1111: /:\s*(-?(?:\d+\.?\d*|\.\d+))\s*\)/y,
  compel: /\)(\d+\.?\d*|\.\d+)/y
}

/**
 * Raises or lowers the weight of the selection, or of the bracket or word at the cursor, by 0.1, as Ctrl+Up and
 * Ctrl+Down do in AUTOMATIC1111's web UI. A weight of 1 removes the brackets.
 *
 * @returns undefined if there is nothing to weight
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/javascript/edit-attention.js
 */
export function changeWeight(
  text: string,
  [start, end]: readonly [start: number, end: number],
  direction: 1 | -1,
  syntax: WeightSyntax
): Edit | undefined {
  const bracket = weightedAt(text, start, end, syntax)
  if (bracket !== undefined) {
    const weight = rounded(bracket.weight + direction * STEP)
    // compel has no negative weights.
    return replaced(text, bracket, bracket.inside, syntax === 'compel' ? Math.max(weight, 0) : weight, syntax)
  }
  const [from, to] = trimmed(text, start === end ? wordAt(text, start) : [start, end])
  if (from === to) return undefined
  return replaced(text, { from, to }, [from, to], rounded(1 + direction * STEP), syntax)
}

function replaced(
  text: string,
  { from, to }: Pick<Weighted, 'from' | 'to'>,
  inside: readonly [start: number, end: number],
  weight: number,
  syntax: WeightSyntax
): Edit {
  const words = text.slice(...inside)
  const open = weight === 1 ? '' : '('
  const close = weight === 1 ? '' : syntax === 'a1111' ? `:${written(weight)})` : `)${written(weight)}`
  const start = from + open.length
  return { from, to, text: `${open}${words}${close}`, select: [start, start + words.length] }
}

/** The innermost weighted bracket around the selection. */
function weightedAt(text: string, start: number, end: number, syntax: WeightSyntax): Weighted | undefined {
  const open: number[] = []
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (character === '\\') {
      at += 1
      continue
    }
    if (character === '(') open.push(at)
    if (character !== ')' && character !== ':') continue
    const found = endAt(text, at, syntax)
    if (found !== undefined && open.length > 0) {
      const from = open.at(-1)!
      const to = at + found.length
      if (from <= start && end <= to) return { from, to, inside: [from + 1, at], weight: found.weight }
    }
    if (character === ')') open.pop()
  }
  return undefined
}

function endAt(text: string, at: number, syntax: WeightSyntax): { length: number; weight: number } | undefined {
  const pattern = new RegExp(ENDS[syntax])
  pattern.lastIndex = at
  const match = pattern.exec(text)
  return match === null ? undefined : { length: match[0].length, weight: Number(match[1]) }
}

function wordAt(text: string, at: number): [start: number, end: number] {
  const ends = (index: number) => DELIMITERS.test(text[index] ?? ' ')
  let [start, end] = [at, at]
  while (start > 0 && !ends(start - 1)) start -= 1
  while (end < text.length && !ends(end)) end += 1
  return [start, end]
}

/** Without spaces at either end. */
function trimmed(text: string, [start, end]: readonly [start: number, end: number]): [start: number, end: number] {
  const selected = text.slice(start, end)
  return [end - selected.trimStart().length, start + selected.trimEnd().length]
}

function rounded(weight: number): number {
  return Math.round(weight * 100) / 100
}

/** With a decimal point, as in AUTOMATIC1111's web UI; in compel a whole number without one has the same meaning. */
function written(weight: number): string {
  return Number.isInteger(weight) ? weight.toFixed(1) : String(weight)
}
