import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

const INDEX = 'model_index.json'
const HUB_MODEL = /^\w[\w.-]*\/\w[\w.-]*(@[\w./-]+)?$/
const HUB_PAGE = /^https?:\/\/(?:huggingface\.co|hf\.co)\/(\w[\w.-]*\/\w[\w.-]*)(?:\/(?:tree|blob|resolve)\/([\w.-]+))?/
const ALL_IN_ONE = /\.(safetensors|ckpt|pt|pth|bin)$/

const WANTED =
  "MODEL must be a model folder in diffusers' layout or, for `npm start`, a Hugging Face model such as stabilityai/stable-diffusion-xl-base-1.0"

/** What is wrong if the value is a URL instead of a folder; undefined otherwise. */
export function addressError(value: string): string | undefined {
  const [page, name, revision] = HUB_PAGE.exec(value) ?? []
  if (page !== undefined)
    return `this is a page on Hugging Face; write ${name}${revision === undefined ? '' : `@${revision}`} with \`npm start\`, or download the model and give its folder`
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) return `models are not loaded from URLs. ${WANTED}`
  return undefined
}

/**
 * What is wrong with a model folder; undefined if nothing is.
 *
 * @param folder absolute
 * @param wholly whether the whole model will be read, not only its tokenizers
 */
export function folderError(folder: string, wholly: boolean): string | undefined {
  const found = statSync(folder, { throwIfNoEntry: false })
  if (found === undefined) return absent(folder)
  if (!found.isDirectory()) return notAFolder(folder)
  if (wholly && !existsSync(join(folder, INDEX))) return withoutIndex(folder)
  return undefined
}

function absent(folder: string): string {
  const given = relative(process.cwd(), folder)
  if (!HUB_MODEL.test(given)) return `the folder does not exist. ${WANTED}`
  return `the folder does not exist. If ${given} is a model on Hugging Face, fetch it with \`python -m easel_worker.fetch ${given} --to FOLDER\`, then set MODEL=FOLDER (\`npm start\` does both)`
}

function notAFolder(file: string): string {
  if (file.endsWith(`/${INDEX}`)) return `this is a file; give its folder, ${dirname(file)}`
  const how = ALL_IN_ONE.test(file)
    ? '. To convert a single-file checkpoint, use diffusers: StableDiffusionXLPipeline.from_single_file(FILE).save_pretrained(FOLDER)'
    : ''
  return `this is a file. ${WANTED}${how}`
}

function withoutIndex(folder: string): string {
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
