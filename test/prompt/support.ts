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

/** What adversarial prompts repeat. */
export const ADVERSARIES: readonly string[] = [
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
  '\n',
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
  '(a).attend(',
  '漢字',
  'é',
  'ab1!',
  '(a)0.9 b '
]
