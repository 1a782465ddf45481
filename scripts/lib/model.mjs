// @ts-check
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { root, run, step, StepError } from '../../tools/run.mjs'
import { python } from '../../tools/setup.mjs'

/** A model on the Hugging Face hub. Keep this in step with the worker's hub.py. */
const HUB_MODEL = /^\w[\w.-]*\/\w[\w.-]*(@[\w./-]+)?$/
/** The revision to fetch if none is named. A fetched copy is kept even if the branch moves later. */
const BRANCH = 'main'

/**
 * Returns the gateway's arguments with the model as a folder. Fetches a model from the hub unless it is cached.
 *
 * @param {readonly string[]} args
 * @param {Record<string, string | undefined>} env
 * @param {string} [cache] folder of fetched models
 * @returns {Promise<string[]>}
 */
export async function withLocalModel(args, env, cache = join(root, '.cache/models')) {
  const model = modelOf(args) ?? env['MODEL']
  if (model === undefined || !HUB_MODEL.test(model) || existsSync(model)) return [...args]
  const named = model.includes('@') ? model : `${model}@${BRANCH}`
  const folder = join(cache, named.replaceAll('/', '--'))
  await step(`Fetching ${named}`, async () => {
    await run(python, ['-m', 'easel_worker.fetch', named, '--to', folder], { cwd: join(root, 'python-worker') }).catch(
      (error) => {
        if (!(error instanceof StepError)) throw error
        throw new StepError(
          `MODEL=${model} could not be fetched from the Hugging Face hub (see above). No folder exists at ${resolve(model)} either`
        )
      }
    )
  })
  return [...args, '--model', folder] // the last one has precedence
}

/**
 * Returns the value of --model. Every option takes a value, even one that starts with dashes.
 *
 * @param {readonly string[]} args
 * @returns {string | undefined}
 */
function modelOf(args) {
  let model
  for (let index = 0; index < args.length; index++) {
    const [, flag, value] = /^(--[^=]+)(?:=(.*))?$/s.exec(args[index] ?? '') ?? []
    if (flag === undefined) continue
    const given = value ?? args[(index += 1)]
    if (flag === '--model') model = given
  }
  return model
}
