/** The start of a long text, cut between graphemes. */
export function short(text: string, most: number): string {
  const characters: string[] = []
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    if (characters.length === most) return `${characters.join('').trimEnd()}…`
    characters.push(segment)
  }
  return text
}

/** Adds an initial capital and a final full stop. */
export function sentence(text: string): string {
  const trimmed = text.trim()
  if (trimmed === '') return ''
  return `${trimmed[0]!.toUpperCase()}${trimmed.slice(1)}${/[.!?…]$/.test(trimmed) ? '' : '.'}`
}

/** "1 picture", "2 pictures". */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`
}
