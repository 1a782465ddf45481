/**
 * Where a model's tokenizers are, and what is wrong with the path of a model. A model is a diffusers folder, a single
 * file in the original layout, or a folder with one single file (the worker's files.py decides alike).
 */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const INDEX = 'model_index.json'
const HUB_MODEL = /^\w[\w.-]*\/\w[\w.-]*(\/[\w./ -]+\.safetensors)?(@[\w./-]+)?$/
const HUB_PAGE =
  /^https?:\/\/(?:huggingface\.co|hf\.co)\/(\w[\w.-]*\/\w[\w.-]*)(?:\/(?:tree|blob|resolve)\/([\w.-]+)(\/[\w./-]+\.safetensors)?)?/
const SINGLE_FILE = /\.safetensors$/
/** Files that can run code when they are loaded. */
const PICKLE = /\.(ckpt|pt|pth|bin)$/
const CALIBRATION = 'int8_calibration.safetensors'

/** SDXL base's configs and tokenizers, which single files lack. */
const SDXL_BASE = fileURLToPath(new URL('../models/sdxl-base-config', import.meta.url))

const WANTED =
  "MODEL must be a model folder in diffusers' layout, a .safetensors file or, for `npm start`, a Hugging Face model such as stabilityai/stable-diffusion-xl-base-1.0"

const CONVERT =
  'Such files can run code when they are loaded. To convert one, use diffusers: StableDiffusionXLPipeline.from_single_file(FILE).save_pretrained(FOLDER)'

/**
 * The folders of a model's two tokenizers. Those that a single file lacks are SDXL base's. SDXL's refiner has the second
 * one only, which then counts for both; a worker refuses other models that lack the first.
 */
export function tokenizerFolders(model: string): [string, string] {
  const single = SINGLE_FILE.test(model) || (!isDiffusersFolder(model) && singleFiles(model).length > 0)
  const folder = (name: string) => {
    const own = join(model, name)
    return single && !existsSync(own) ? join(SDXL_BASE, name) : own
  }
  const [first, second] = [folder('tokenizer'), folder('tokenizer_2')]
  return [existsSync(first) || !existsSync(second) ? first : second, second]
}

/** What is wrong if the value is a URL instead of a folder; undefined otherwise. */
export function addressError(value: string): string | undefined {
  const [page, name, revision, file = ''] = HUB_PAGE.exec(value) ?? []
  if (page !== undefined)
    return `this is a page on Hugging Face; write ${name}${file}${revision === undefined ? '' : `@${revision}`} with \`npm start\`, or download the model and give its folder`
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) return `models are not loaded from URLs. ${WANTED}`
  return undefined
}

/**
 * What is wrong with the path of a model; undefined if nothing is.
 *
 * @param path absolute
 * @param wholly whether the whole model will be read, not only its tokenizers
 */
export function modelError(path: string, wholly: boolean): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined) return SINGLE_FILE.test(path) && !wholly ? undefined : absent(path)
  if (!found.isDirectory()) return SINGLE_FILE.test(path) ? undefined : notAModel(path)
  if (isDiffusersFolder(path)) return undefined
  const files = singleFiles(path)
  if (files.length > 1) return `the folder holds ${files.length} single files; give one of them: ${files.join(', ')}`
  if (files.length === 0 && wholly && !existsSync(join(path, INDEX))) return withoutIndex(path)
  return undefined
}

function isDiffusersFolder(folder: string): boolean {
  return existsSync(join(folder, INDEX)) && filesIn(join(folder, 'unet')).some((name) => name.includes('.safetensors'))
}

function singleFiles(folder: string): string[] {
  return filesIn(folder).filter((name) => SINGLE_FILE.test(name) && name !== CALIBRATION)
}

function filesIn(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => name)
    .toSorted()
}

function absent(folder: string): string {
  const given = relative(process.cwd(), folder)
  if (!HUB_MODEL.test(given)) return `there is no such folder or file. ${WANTED}`
  return `there is no such folder or file. If ${given} is a model on Hugging Face, fetch it with \`python -m easel_worker.fetch ${given} --to FOLDER\`, then set MODEL=FOLDER (\`npm start\` does both)`
}

function notAModel(file: string): string {
  if (file.endsWith(`/${INDEX}`)) return `this is a file; give its folder, ${dirname(file)}`
  return PICKLE.test(file) ? `only .safetensors files are loaded. ${CONVERT}` : `this is not a model. ${WANTED}`
}

function withoutIndex(folder: string): string {
  const pickle = filesIn(folder).find((name) => PICKLE.test(name))
  if (pickle !== undefined) return `the folder holds ${pickle}, but only .safetensors files are loaded. ${CONVERT}`
  const below = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(folder, name))
  // The Hugging Face cache stores a model in snapshots/COMMIT.
  const snapshots = below
    .filter((path) => path.endsWith('/snapshots'))
    .flatMap((path) => readdirSync(path).map((name) => join(path, name)))
  const model = [...below, ...snapshots].find((path) => existsSync(join(path, INDEX)))
  return model === undefined
    ? `the folder has no ${INDEX}, so it is not a model. ${WANTED}`
    : `the folder has no ${INDEX}, but ${model} has one; give that folder`
}
