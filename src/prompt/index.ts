import { parseLocated } from './a1111.js'
import { refuseUnpaintable } from './a1111-refusals.js'
import { parseCompel } from './compel.js'
import type { Fragment, PromptSyntax } from './fragment.js'
import { readNetworks } from './networks.js'

export { isBreak } from './a1111.js'
export { type Fragment, PROMPT_SYNTAXES, PromptSyntaxError, type PromptSyntax } from './fragment.js'
export { doubtOf } from './doubts.js'
export { readNetworks } from './networks.js'

/** A syntax with weights. */
export type WeightedSyntax = Exclude<PromptSyntax, 'plain'>

/**
 * Reads a prompt's weights. Linear in its length.
 *
 * @throws PromptSyntaxError for what the syntax means and Easel does not do
 */
export function parsePrompt(prompt: string, syntax: WeightedSyntax, negative: boolean): readonly Fragment[] {
  if (syntax === 'compel') return parseCompel(prompt)
  const { rest } = readNetworks(prompt, negative)
  refuseUnpaintable(rest.text, negative)
  return parseLocated(rest)
}
