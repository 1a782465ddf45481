/**
 * The reference's normalizer, NFC then lowercase, with offsets into the source text. Omits its third step, collapsing
 * white space, which does not affect the split into words.
 */
import { COMPOSING, TRAILING, type Unicode } from './unicode.js'

/** Normalized text. UTF-16 unit `i` comes from the source character that starts at `starts[i]`. */
export interface Normalized {
  readonly text: string
  readonly starts: readonly number[]
}

const REPLACEMENT = 0xff_fd
/** The first combining mark. NFC changes nothing below it. */
const FIRST_MARK = 0x03_00

/**
 * Normalizes `source`; `offset` is added to `starts`. Replaces a lone surrogate, which UTF-8 cannot encode, with
 * U+FFFD. Linear, except that long runs of combining marks are sorted.
 */
export function normalize(source: string, offset: number, unicode: Unicode): Normalized {
  const starts: number[] = []
  let text = ''
  for (let start = 0; start < source.length;) {
    const end = clusterEnd(source, start, unicode)
    const piece = normalizeCluster(source, start, end, unicode)
    text += piece
    for (let unit = 0; unit < piece.length; unit++) starts.push(offset + start)
    start = end
  }
  return { text, starts }
}

/** The end of the character at `start` and of all following ones that NFC may join to it. */
function clusterEnd(source: string, start: number, unicode: Unicode): number {
  let end = start + width(source, start)
  while (end < source.length && source.charCodeAt(end) >= FIRST_MARK) {
    if (!(unicode.flags(pointAt(source, end)) & TRAILING)) break
    end += width(source, end)
  }
  return end
}

function normalizeCluster(source: string, start: number, end: number, unicode: Unicode): string {
  const first = pointAt(source, start)
  const rest = start + width(source, start)
  const composes = (unicode.flags(first) & COMPOSING) !== 0
  if (end === rest && (first < FIRST_MARK || !composes)) return unicode.lower(first)
  const marks = Array.from(source.slice(rest, end))
  if (composes) return lowercase(compose([String.fromCodePoint(first), ...marks], unicode), unicode)
  // Keep characters that the reference's tables lack, even if this Node's newer ICU would compose them.
  return unicode.lower(first) + lowercase(compose(marks, unicode), unicode)
}

/**
 * NFC. Sorts the marks into canonical order first, because ICU's sorting is quadratic: 8 s for 100,000 marks.
 */
function compose(points: readonly string[], unicode: Unicode): string {
  if (points.length === 1) return (points[0] as string).normalize('NFC')
  const ordered: string[] = []
  let marks: { text: string; combiningClass: number }[] = []
  const flush = (): void => {
    marks.sort((a, b) => a.combiningClass - b.combiningClass)
    for (const mark of marks) ordered.push(mark.text)
    marks = []
  }
  for (const text of points.flatMap((point) => [...point.normalize('NFD')])) {
    const combiningClass = unicode.combiningClass(pointAt(text, 0))
    if (combiningClass === 0) {
      flush()
      ordered.push(text)
    } else {
      marks.push({ text, combiningClass })
    }
  }
  flush()
  return ordered.join('').normalize('NFC')
}

function lowercase(text: string, unicode: Unicode): string {
  let lower = ''
  for (const character of text) lower += unicode.lower(pointAt(character, 0))
  return lower
}

function pointAt(text: string, index: number): number {
  const point = text.codePointAt(index) as number
  return point >= 0xd8_00 && point < 0xe0_00 ? REPLACEMENT : point
}

function width(text: string, index: number): number {
  return (text.codePointAt(index) as number) > 0xff_ff ? 2 : 1
}
