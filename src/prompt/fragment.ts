/** What all readings of a prompt share. */

/** How a prompt is read: as plain text, or with the weights of AUTOMATIC1111's web UI or of compel. */
export const PROMPT_SYNTAXES = ['plain', 'a1111', 'compel'] as const
export type PromptSyntax = (typeof PROMPT_SYNTAXES)[number]

/** Text, and for each UTF-16 unit of it the offset in the prompt of the character it comes from. */
export interface Located {
  readonly text: string
  readonly starts: readonly number[]
}

/** A stretch of a prompt with one weight; 1 changes nothing. */
export interface Fragment extends Located {
  readonly weight: number
}

/** The prompt says something that its syntax cannot mean here. The message follows the field's name. */
export class PromptSyntaxError extends Error {}

/** Deeper brackets are refused. Bounds the work for each character; 1.1^100 is 13,781. */
export const MAX_DEPTH = 100

/** Larger weights, of either sign, are refused: products of them overflow to infinity. */
export const MAX_WEIGHT = 1000

export function tooDeep(): PromptSyntaxError {
  return new PromptSyntaxError(`nests brackets more than ${MAX_DEPTH} deep; remove some, or escape them`)
}

/** @throws PromptSyntaxError for a weight out of range */
export function checkWeights(fragments: readonly Fragment[]): void {
  const wrong = fragments.find(({ weight }) => !(Math.abs(weight) <= MAX_WEIGHT))
  if (wrong === undefined) return
  const text = JSON.stringify(wrong.text.slice(0, SHOWN))
  throw new PromptSyntaxError(
    `gives ${text} the weight ${wrong.weight}; weights go from -${MAX_WEIGHT} to ${MAX_WEIGHT}`
  )
}

/** Most characters of the prompt that an error shows. */
export const SHOWN = 40

/** A part of the prompt as errors show it. */
export function quote(text: string): string {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text
}

/** Part of a text with its locations. */
export function slice({ text, starts }: Located, from: number, to: number): Located {
  return { text: text.slice(from, to), starts: starts.slice(from, to) }
}

/** A whole text, located in itself. */
export function located(text: string): Located {
  return { text, starts: Array.from({ length: text.length }, (_, index) => index) }
}
