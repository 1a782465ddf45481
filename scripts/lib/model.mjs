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
 * Returns the gateway's arguments with the models as folders. Fetches models from the hub unless they are cached. With
 * `--models` it does so for a list, but not for a file.
 *
 * @param {readonly string[]} args
 * @param {Record<string, string | undefined>} env
 * @param {string} [cache] folder of fetched models
 * @returns {Promise<string[]>}
 */
export async function withLocalModel(args, env, cache = join(root, '.cache/models')) {
  const list = valueOf('--models', args) ?? env['MODELS']
  if (list?.includes('=')) {
    const local = await localList(list, cache)
    return local === list ? [...args] : [...args, '--models', local] // the last one has precedence
  }
  const model = valueOf('--model', args) ?? env['MODEL']
  if (model === undefined) return [...args]
  const folder = await localFolder('MODEL', model, cache)
  return folder === model ? [...args] : [...args, '--model', folder]
}

/**
 * @param {string} list NAME=PATH,NAME=PATH
 * @param {string} cache
 */
async function localList(list, cache) {
  const parts = []
  for (const part of list.split(',')) {
    const [name = '', ...path] = part.trim().split('=')
    parts.push(`${name}=${await localFolder(`MODELS: ${name}`, path.join('='), cache)}`)
  }
  return parts.join(',')
}

/**
 * The folder of a model: itself, unless it is a model on the hub, which is fetched.
 *
 * @param {string} option for errors
 * @param {string} model
 * @param {string} cache
 */
async function localFolder(option, model, cache) {
  if (!HUB_MODEL.test(model) || existsSync(model)) return model
  const named = model.includes('@') ? model : `${model}@${BRANCH}`
  const folder = join(cache, named.replaceAll('/', '--'))
  await step(`Fetching ${named}`, async () => {
    await run(python, ['-m', 'easel_worker.fetch', named, '--to', folder], { cwd: join(root, 'python-worker') }).catch(
      (error) => {
        if (!(error instanceof StepError)) throw error
        throw new StepError(
          `${option}=${model} could not be fetched from the Hugging Face hub (see above). No folder exists at ${resolve(model)} either`
        )
      }
    )
  })
  return folder
}

/**
 * Returns the value of a flag. Every option takes a value, even one that starts with dashes.
 *
 * @param {string} wanted
 * @param {readonly string[]} args
 * @returns {string | undefined}
 */
function valueOf(wanted, args) {
  let found
  for (let index = 0; index < args.length; index++) {
    const [, flag, value] = /^(--[^=]+)(?:=(.*))?$/s.exec(args[index] ?? '') ?? []
    if (flag === undefined) continue
    const given = value ?? args[(index += 1)]
    if (flag === wanted) found = given
  }
  return found
}
