/** How many characters of a client's own words an error repeats. */
const EXCERPT_LENGTH = 64

/** Control characters, marks that turn the direction of what follows, halves of pairs, unassigned ones: what a terminal or a log's reader would trip over. */
const UNSAFE = /[\p{C}\p{Zl}\p{Zp}]/u

/**
 * A client's own words, short and plain enough for an answer or a log line: at most `most` UTF-16 units, then … if there is more.
 * Characters that cannot be seen are written as `\u{hex}`.
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
