// @ts-check
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { root, run, step, StepError } from '../../tools/run.mjs'
import { python } from '../../tools/setup.mjs'

/** A model on the Hugging Face hub; the worker's hub.py has the same form. */
const HUB_MODEL = /^\w[\w.-]*\/\w[\w.-]*(@[\w./-]+)?$/
/** What is fetched where no revision is named. What was fetched once is kept, whatever it means later. */
const BRANCH = 'main'

/**
 * The gateway's arguments with a folder as the model. One on the hub is fetched, unless it is there.
 *
 * @param {readonly string[]} args
 * @param {Record<string, string | undefined>} env
 * @param {string} [cache] where fetched models are
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
          `MODEL=${model} could not be fetched from the Hugging Face hub, as said above; if a folder is meant: there is none at ${resolve(model)}`
        )
      }
    )
  })
  return [...args, '--model', folder] // the last one counts
}

/**
 * The value of --model. Every option takes one, whatever it begins with.
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
