/**
 * What AUTOMATIC1111's web UI does with a prompt beyond weights, BREAK and LoRAs: composition, and prompts that change
 * between steps. Easel refuses these: as plain text they would paint something else.
 * Source: https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/prompt_parser.py#L15
 */
import { PromptSyntaxError, quote } from './fragment.js'
import { SPACES, wholeWord } from './python-text.js'

const AND = wholeWord('AND')
const NUMBER = new RegExp(`^[${SPACES}]*[+-]?(\\d+\\.?\\d*|\\.\\d+)(e[+-]?\\d+)?[${SPACES}]*$`, 'i')

/**
 * @param negative whether it is a negative prompt, in which AND is a word like others
 * @throws PromptSyntaxError
 */
export function refuseUnpaintable(prompt: string, negative: boolean): void {
  if (!negative && AND.test(prompt))
    throw new PromptSyntaxError('has AND, which joins several prompts in this syntax; Easel paints one: write "and"')
  refuseSchedules(prompt)
}

interface Bracket {
  readonly square: boolean
  readonly at: number
  colons: number
  lastColon: number
  bar: boolean
}

/** Refuses `[from:to:when]` and `[one|other]`. Brackets that do not close in order are text, as in the web UI. */
function refuseSchedules(prompt: string): void {
  const open: Bracket[] = []
  for (let at = 0; at < prompt.length; at++) {
    const character = prompt[at]
    const top = open.at(-1)
    if (character === '\\') at += 1
    else if (character === '(' || character === '[')
      open.push({ square: character === '[', at, colons: 0, lastColon: at, bar: false })
    else if (top === undefined) continue
    else if (character === ':') {
      top.colons += 1
      top.lastColon = at
    } else if (character === '|') top.bar = true
    else if (character === ')' && !top.square) open.pop()
    else if (character === ']' && top.square) {
      open.pop()
      refuseIfScheduled(top, prompt, at)
    }
  }
}

function refuseIfScheduled({ at, colons, lastColon, bar }: Bracket, prompt: string, end: number): void {
  const shown = quote(prompt.slice(at, end + 1))
  if (bar)
    throw new PromptSyntaxError(
      `has ${shown}, which alternates between steps in this syntax; Easel keeps one prompt for all steps: choose one, or escape the brackets`
    )
  if ((colons === 1 || colons === 2) && NUMBER.test(prompt.slice(lastColon + 1, end)))
    throw new PromptSyntaxError(
      `has ${shown}, which changes the prompt between steps in this syntax; Easel keeps one prompt for all steps: a weight is (word:0.8), in round brackets`
    )
}
