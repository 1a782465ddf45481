/**
 * Splits normalized text into words like the reference's two successive regular expressions: contractions, runs of
 * letters, single digits, runs of anything else. Written by hand so that long runs do not exhaust the stack and the
 * character classes match the reference's Unicode version.
 */
import { LETTER, NUMBER, SPACE, type Unicode } from './unicode.js'

const OTHER = 0

/** Strings that are always words. The reference's second expression splits spelled-out special tokens again. */
const FIXED = [
  ["'s"],
  ["'t"],
  ["'re"],
  ["'ve"],
  ["'m"],
  ["'ll"],
  ["'d"],
  ['<|', 'startoftext', '|>'],
  ['<|', 'endoftext', '|>']
].map((parts) => ({ parts, whole: parts.join('') }))

/** Yields the start and end of each word of `text` between `from` and `to`. */
export function* words(text: string, from: number, to: number, unicode: Unicode): Generator<[number, number]> {
  let start = from
  while (start < to) {
    const kind = kindAt(text, start, unicode)
    if (kind === SPACE) {
      start++
      continue
    }
    const parts = kind === OTHER ? fixedParts(text, start, to) : undefined
    const lengths = parts?.map((part) => part.length) ?? [runLength(text, start, to, kind, unicode)]
    for (const length of lengths) {
      yield [start, start + length]
      start += length
    }
  }
}

/** The contraction, or the parts of the spelled-out special token, that starts at `start`. */
function fixedParts(text: string, start: number, to: number): readonly string[] | undefined {
  const first = text.charAt(start)
  if (first !== "'" && first !== '<') return undefined
  return FIXED.find(({ whole }) => start + whole.length <= to && text.startsWith(whole, start))?.parts
}

function runLength(text: string, start: number, to: number, kind: number, unicode: Unicode): number {
  let end = start + width(text, start)
  if (kind === NUMBER) return end - start
  while (end < to && kindAt(text, end, unicode) === kind) end += width(text, end)
  return end - start
}

/** SPACE, LETTER, NUMBER or OTHER. */
function kindAt(text: string, index: number, unicode: Unicode): number {
  return unicode.flags(text.codePointAt(index) as number) & (SPACE | LETTER | NUMBER)
}

function width(text: string, index: number): number {
  return (text.codePointAt(index) as number) > 0xff_ff ? 2 : 1
}
