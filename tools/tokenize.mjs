// @ts-check
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root, StepError } from './run.mjs'

/**
 * Tokenizes prompts for a worker without a gateway. The gateway must be built.
 *
 * @param {string} model folder with two tokenizers
 * @param {readonly string[]} prompts truncated if they are too long
 */
export async function tokenize(model, prompts) {
  // A computed path, because the build does not exist when types are checked.
  const built = pathToFileURL(join(root, 'dist/tokenizer/index.js')).href
  const { SdxlTokenizers } = /** @type {typeof import('../src/tokenizer/index.js')} */ (await import(built))
  const tokenizers = await SdxlTokenizers.fromModelFolder(model).catch((/** @type {Error} */ error) => {
    throw new StepError(error.message)
  })
  return prompts.map((prompt) => {
    const { ids, ids_2 } = tokenizers.encode(prompt)
    return { ids, ids_2 }
  })
}
