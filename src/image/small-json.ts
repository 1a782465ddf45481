/** A schedule of a recipe has at most 1,001 numbers, and its other fields are a few dozen. */
const MAX_VALUES = 2048

/** A recipe holds lists, and its list of LoRAs holds objects. */
const MAX_DEPTH = 3

/**
 * Parses a JSON object of at most 2,048 values, nested at most three deep; undefined for anything else.
 *
 * Checks the structure in one pass before parsing: JSON.parse takes much longer than that pass on deep objects or on
 * more values than a recipe has.
 */
export function parseSmallObject(text: string): Record<string, unknown> | undefined {
  if (!isSmall(text)) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return value === null || typeof value !== 'object' || Array.isArray(value)
      ? undefined
      : (value as Record<string, unknown>)
  } catch {
    return undefined
  }
}

const [QUOTE, COMMA, OPEN_LIST, CLOSE_LIST, BACKSLASH, OPEN, CLOSE] = [...'",[]\\{}'].map((letter) =>
  letter.charCodeAt(0)
)

function isSmall(text: string): boolean {
  let depth = 0
  let values = 1
  for (let at = 0; at < text.length; at++) {
    const letter = text.charCodeAt(at)
    if (letter === QUOTE) {
      at = endOfText(text, at)
      if (at === -1) return false
    } else if (letter === OPEN || letter === OPEN_LIST) depth += 1
    else if (letter === CLOSE || letter === CLOSE_LIST) depth -= 1
    else if (letter === COMMA) values += 1
    if (depth > MAX_DEPTH || values > MAX_VALUES) return false
  }
  return true
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
