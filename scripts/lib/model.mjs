// @ts-check
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { root, run, step, StepError } from '../../tools/run.mjs'
import { python } from '../../tools/setup.mjs'

/** A model or a single file on the Hugging Face hub. Keep this in step with the worker's hub.py. */
const HUB_MODEL = /^\w[\w.-]*\/\w[\w.-]*(\/[\w./ -]+\.safetensors)?(@[\w./-]+)?$/
/** The revision to fetch if none is named. A fetched copy is kept even if the branch moves later. */
const BRANCH = 'main'

/** The components that another model's can replace. */
const COMPONENTS = ['vae', 'unet']

/** The options that name a whole model. */
const WHOLE = ['model', 'refiner']

/**
 * Returns the gateway's arguments with the models as folders, and the VAE, UNet and refiner of a model. Fetches them
 * from the hub unless they are cached. With `--models` it does so for a list of models, but not for a file.
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
  const all = [...args]
  for (const name of [...WHOLE, ...COMPONENTS]) {
    const option = name.toUpperCase()
    const value = valueOf(`--${name}`, args) ?? env[option]
    if (value === undefined) continue
    const folder = await localFolder(option, value, cache, COMPONENTS.includes(name) ? name : undefined)
    if (folder !== value) all.push(`--${name}`, folder)
  }
  return all
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
 * @param {string} [component] fetch only this
 */
async function localFolder(option, model, cache, component) {
  if (!HUB_MODEL.test(model) || existsSync(model)) return model
  const named = model.includes('@') ? model : `${model}@${BRANCH}`
  const suffix = component === undefined ? '' : `--${component}`
  const folder = join(cache, `${named}${suffix}`.replaceAll('/', '--'))
  const only = component === undefined ? [] : ['--component', component]
  await step(`Fetching ${named}`, async () => {
    await run(python, ['-m', 'easel_worker.fetch', named, '--to', folder, ...only], {
      cwd: join(root, 'python-worker')
    }).catch((error) => {
      if (!(error instanceof StepError)) throw error
      throw new StepError(
        `${option}=${model} could not be fetched from the Hugging Face hub (see above). No folder exists at ${resolve(model)} either`
      )
    })
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
