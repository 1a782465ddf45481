/** How much of a client's text an error repeats by default, in UTF-16 units. */
const EXCERPT_LENGTH = 64

/** Characters that could disrupt a terminal or log: controls, direction marks, lone surrogates, unassigned ones. */
const UNSAFE = /[\p{C}\p{Zl}\p{Zp}]/u

/**
 * Makes a client's text safe for an answer or a log line. Truncates it to `most` UTF-16 units, followed by … if it was
 * longer, and escapes unsafe characters as `\u{hex}`.
 */
export function excerpt(words: string, most = EXCERPT_LENGTH): string {
  let shown = ''
  for (const character of words) {
    const written = UNSAFE.test(character) ? `\\u{${character.codePointAt(0)!.toString(16)}}` : character
    if (shown.length + written.length > most) return `${shown}…`
    shown += written
  }
  return shown
}
