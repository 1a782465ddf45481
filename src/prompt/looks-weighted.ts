/** Finds weights and the like in a prompt that is read as plain text. */
import { SHOWN } from './fragment.js'
import { wholeWord } from './python-text.js'

/** `(red:1.3)`, `(red)1.3` and `(red)++`, `<lora:x:1>`, and BREAK. */
const SIGNS = [
  /\([^()]*:\s*[+-]?[\d.]+\s*\)/,
  /\([^()]*\)(?:\d*\.\d|\+\+|--)/,
  /<(?:lora|lyco|hypernet):[^<>]+>/,
  wholeWord('BREAK')
]

/** The first part that another syntax would read as more than text; undefined if there is none. */
export function weightedPart(prompt: string): string | undefined {
  const first = SIGNS.map((sign) => sign.exec(prompt)?.[0]).find((part) => part !== undefined) ?? nestedIn(prompt)
  return first === undefined || first.length <= SHOWN ? first : `${first.slice(0, SHOWN)}…`
}

/** `((red))`, or the like with more brackets or other text in between. */
function nestedIn(prompt: string): string | undefined {
  const start = prompt.indexOf('((')
  const end = start === -1 ? -1 : prompt.indexOf('))', start)
  return end === -1 ? undefined : prompt.slice(start, end + 2)
}
