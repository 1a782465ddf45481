import { type Capabilities, PICTURES_ONLY } from '../workers/capabilities.js'
import { EaselError } from '../errors.js'
import { type Defaults, type NamesWith, parameters } from '../parameters.js'
import { envOf } from '../options.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
import { readPrompts, tokenizePrompts } from './prompt-job.js'
import { describeCut } from './prompts.js'
import { defaultsOf } from './decisions.js'
import { resolveRequest } from './resolve.js'

type Field = NamesWith<'option'>

/** The minimal request, so that every other value is a default. */
const PLAIN = { prompt: 'x' }

/**
 * Why a request with nothing but a prompt would be refused, or undefined. One line that names the option, or the key
 * in the model's easel.json, and says what would work.
 */
export function problemWithDefaults(
  model: Capabilities,
  defaults: Defaults,
  tokenizers: SdxlTokenizers
): string | undefined {
  const problem = (field: Field, why: string) => `${whoSaidIt(field, model, defaults)}: ${why}`
  try {
    // A model that only changes pictures refuses every request without one, which is no default's fault.
    const able = { ...model, features: model.features.filter((name) => name !== PICTURES_ONLY) }
    const resolved = resolveRequest(PLAIN, able, defaults, () => 0)
    const { reading, negative: [negative] = [] } = readPrompts(resolved, tokenizers, model)
    if (negative?.cutAt !== undefined) {
      const { room } = tokenizers.tokenizers[0]
      return problem('negative_prompt', `it ${describeCut(negative, reading, room)}. Shorten it`)
    }
    tokenizePrompts(resolved, tokenizers, model, false)
    return undefined
  } catch (error) {
    // NOT_READY means that the size is still being compiled, which resolves itself.
    if (!(error instanceof EaselError) || error.code === 'NOT_READY') return undefined
    return problem(error.field as Field, error.message)
  }
}

/** Most characters shown of a value. */
const SHOWN = 60

function whoSaidIt(field: Field, model: Capabilities, defaults: Defaults): string {
  const value = defaultsOf(model, defaults)[field]
  const shown =
    typeof value === 'string' ? JSON.stringify(value.length > SHOWN ? `${value.slice(0, SHOWN)}…` : value) : value
  return defaults[field] === undefined
    ? `"${field}": ${shown} in "defaults" of the model's easel.json`
    : `${envOf(parameters[field].option.key)}=${shown}`
}
