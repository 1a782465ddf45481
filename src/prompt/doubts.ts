/** Finds what a prompt's author probably meant otherwise than its syntax reads it. */
import { hasWordBreak, parseA1111 } from './a1111.js'
import { type PromptSyntax, SHOWN } from './fragment.js'
import { wholeWord } from './python-text.js'

/** `(red:1.3)`, `(red)1.3` and `(red)++`, `<lora:x:1>`, and BREAK. */
const SIGNS = [
  /\([^()]*:\s*[+-]?[\d.]+\s*\)/,
  /\([^()]*\)(?:\d*\.\d|\+\+|--)/,
  /<(?:lora|lyco|hypernet):[^<>]+>/,
  wholeWord('BREAK')
]

/** A warning that follows the field's name; undefined if there is nothing to doubt. The prompt has been parsed before. */
export function doubtOf(prompt: string, syntax: PromptSyntax): string | undefined {
  if (syntax === 'compel') return undefined
  if (syntax === 'a1111')
    return prompt.includes('BREAK') && hasWordBreak(parseA1111(prompt))
      ? "has BREAK inside brackets, where AUTOMATIC1111's web UI reads it as a word: close the brackets before it"
      : undefined
  const part = weightedPart(prompt)
  return part && `has ${part}, which is painted as text: send "prompt_syntax": "a1111" or "compel" to have it read`
}

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
