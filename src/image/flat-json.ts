/** Well above the dozen fields of a recipe. */
const MAX_FIELDS = 64

/**
 * Parses a JSON object whose values are strings, numbers, booleans or null; undefined for anything else.
 *
 * Checks the structure in one pass before parsing: JSON.parse takes much longer than that pass on nested objects or on
 * more fields than a recipe has.
 */
export function parseFlatObject(text: string): Record<string, unknown> | undefined {
  if (!isFlat(text)) return undefined
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return undefined
  }
}

const [QUOTE, COMMA, BRACKET, BACKSLASH, BRACE] = [...'",[\\{'].map((letter) => letter.charCodeAt(0))

function isFlat(text: string): boolean {
  let braces = 0
  let fields = 1
  for (let at = 0; at < text.length; at++) {
    const letter = text.charCodeAt(at)
    if (letter === QUOTE) {
      at = endOfText(text, at)
      if (at === -1) return false
    } else if (letter === BRACKET) return false
    else if (letter === BRACE) braces += 1
    else if (letter === COMMA) fields += 1
    if (braces > 1 || fields > MAX_FIELDS) return false
  }
  return braces === 1
}

/** The index of the quote that closes the string opened at `start`; -1 if none does. */
function endOfText(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const letter = text.charCodeAt(at)
    if (letter === BACKSLASH) at += 1
    else if (letter === QUOTE) return at
  }
  return -1
}
