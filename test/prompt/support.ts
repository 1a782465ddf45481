import { readFileSync } from 'node:fs'

/** What the references read, as python-worker/parity/prompts/make_goldens.py wrote it. */
export function goldenRows<Row>(name: string): Row[] {
  const text = readFileSync(new URL(`golden/${name}`, import.meta.url), 'utf8')
  return (JSON.parse(text) as { rows: Row[] }).rows
}

export interface ParseGolden {
  text: string
  /** null where the reference fails. */
  fragments: [text: string, weight: number][] | null
}

/** Brackets and separators in every order, of 32,000 characters. */
export function adversaries(): string[] {
  const pieces = [
    '(',
    '[',
    ')',
    ']',
    '(a',
    '[a',
    '(a)',
    '[a]',
    '((a',
    '\\',
    '\\(',
    '"',
    '" ',
    ' "',
    '"\\"',
    ' ',
    ' :',
    ':1',
    '(:1',
    ': .',
    '\n'
  ]
  const more = [
    '(a:1.1)',
    'BREAK',
    ' BREAK',
    '<a:',
    '<a:b',
    '[a:',
    '[|',
    '(a)+',
    'a+',
    'a-',
    '+',
    ',',
    ',(',
    '. ',
    '.attend(',
    '(a).attend('
  ]
  return [...pieces, ...more].map((piece) => piece.repeat(Math.ceil(32_000 / piece.length)).slice(0, 32_000))
}
