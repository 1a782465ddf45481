import type { Capabilities } from '../engine/abilities.js'
import { EaselError } from '../errors.js'
import { type Defaults, type NamesWith, parameters } from '../parameters.js'
import { envOf } from '../options.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
import { describeCut } from './prompts.js'
import { defaultsOf } from './decisions.js'
import { resolveRequest } from './resolve.js'

type Field = NamesWith<'setting'>

/** What the check asks for: the least that a request can say. */
const PLAIN = { prompt: 'x' }

/**
 * Why a request that says nothing but its prompt would be refused: one line that names the setting, or the key of the model
 * folder's easel.json, and says what would do. Undefined when it would be made.
 */
export function problemWithDefaults(
  model: Capabilities,
  defaults: Defaults,
  tokenizers: SdxlTokenizers
): string | undefined {
  const problem = (field: Field, why: string) => `${whoSaidIt(field, model, defaults)}: ${why}`
  try {
    const { negative_prompt } = resolveRequest(PLAIN, model, defaults, () => 0)
    const encoded = tokenizers.encode(negative_prompt)
    return encoded.truncated ? problem('negative_prompt', `it ${describeCut(encoded)}. Shorten it`) : undefined
  } catch (error) {
    // A size that is still being compiled will be there.
    if (!(error instanceof EaselError) || error.code === 'NOT_READY') return undefined
    return problem(error.field as Field, error.message)
  }
}

/** Characters of a value that are shown. */
const SHOWN = 60

function whoSaidIt(field: Field, model: Capabilities, defaults: Defaults): string {
  const value = defaultsOf(model, defaults)[field]
  const shown =
    typeof value === 'string' ? JSON.stringify(value.length > SHOWN ? `${value.slice(0, SHOWN)}…` : value) : value
  return defaults[field] === undefined
    ? `"${field}": ${shown} in "defaults" of the model's easel.json`
    : `${envOf(parameters[field].setting.key)}=${shown}`
}
