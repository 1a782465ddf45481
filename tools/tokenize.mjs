// @ts-check
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root, StepError } from './run.mjs'

/**
 * Tokenizes prompts for a worker without a gateway. The gateway must be built.
 *
 * @param {string} model its folder or file
 * @param {readonly string[]} prompts truncated if they are too long
 */
export async function tokenize(model, prompts) {
  // A computed path, because the build does not exist when types are checked.
  const built = (/** @type {string} */ file) => import(pathToFileURL(join(root, 'dist', file)).href)
  const { SdxlTokenizers } = /** @type {typeof import('../src/tokenizer/index.js')} */ (
    await built('tokenizer/index.js')
  )
  const { tokenizerFolders } = /** @type {typeof import('../src/model-folder.js')} */ (await built('model-folder.js'))
  const tokenizers = await SdxlTokenizers.fromFolders(tokenizerFolders(model)).catch((/** @type {Error} */ error) => {
    throw new StepError(error.message)
  })
  return prompts.map((prompt) => {
    const { ids, ids_2 } = tokenizers.encode(prompt)
    return { ids, ids_2 }
  })
}
