/** Character classes and numbers as Python's `re` and `float` read them, where JavaScript's differ. */

/** `\s` for text, as the inside of a character class. */
export const SPACES = '\\t-\\r\\u001c-\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'

const WORD = '[\\p{L}\\p{N}_]'

/** Matches `word` between word boundaries. */
export function wholeWord(word: string, flags = 'u'): RegExp {
  return new RegExp(`(?<!${WORD})${word}(?!${WORD})`, flags)
}

const SPACE = new RegExp(`[${SPACES}]`)

export function isSpace(character: string | undefined): boolean {
  return character !== undefined && SPACE.test(character)
}

/** `float` of decimal digits of any script, a sign and dots; NaN where Python raises ValueError. */
export function toFloat(text: string): number {
  return Number(text.replaceAll(/\p{Nd}/gu, (digit) => String(digitOf(digit.codePointAt(0) as number))))
}

/** Unicode lists the ten digits of a script in a row, and such rows may adjoin. */
function digitOf(point: number): number {
  let zero = point
  while (/^\p{Nd}$/u.test(String.fromCodePoint(zero - 1))) zero -= 1
  return (point - zero) % 10
}
