// @ts-check
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { root, run, step } from './run.mjs'
import { python } from './setup.mjs'

/** A model on the Hugging Face hub; the worker's hub.py has the same form. */
const HUB_MODEL = /^[\w.-]+\/[\w.-]+@[\w./-]+$/

/**
 * The gateway's arguments with a folder as the model. One on the hub is fetched, unless it is there.
 *
 * @param {readonly string[]} args
 * @param {Record<string, string | undefined>} env
 * @param {string} [cache] where fetched models are
 * @returns {Promise<string[]>}
 */
export async function withLocalModel(args, env, cache = join(root, '.cache/models')) {
  const flag = parseArgs({ args: [...args], options: { model: { type: 'string' } }, strict: false }).values['model']
  const model = flag ?? env['MODEL']
  if (typeof model !== 'string' || !HUB_MODEL.test(model) || existsSync(model)) return [...args]
  const folder = join(cache, model.replaceAll('/', '--'))
  await step(`Fetching ${model}`, () => run(python, ['-m', 'easel_worker.fetch', model, '--to', folder], { cwd: join(root, 'python-worker') }))
  return [...args, '--model', folder] // the last one counts
}
