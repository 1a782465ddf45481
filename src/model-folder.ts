import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

const INDEX = 'model_index.json'
const HUB_MODEL = /^\w[\w.-]*\/\w[\w.-]*(@[\w./-]+)?$/
const HUB_PAGE = /^https?:\/\/(?:huggingface\.co|hf\.co)\/(\w[\w.-]*\/\w[\w.-]*)(?:\/(?:tree|blob|resolve)\/([\w.-]+))?/
const ALL_IN_ONE = /\.(safetensors|ckpt|pt|pth|bin)$/

const WANTED =
  'MODEL is a folder as diffusers lays it out, or, for `npm start`, a model of the Hugging Face hub such as stabilityai/stable-diffusion-xl-base-1.0'

/** What is wrong with an address in the place of a folder. */
export function addressError(value: string): string | undefined {
  const [page, name, revision] = HUB_PAGE.exec(value) ?? []
  if (page !== undefined)
    return `it is a page of the Hugging Face hub: write ${name}${revision === undefined ? '' : `@${revision}`} with \`npm start\`, or fetch it into a folder and name that`
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) return `it is an address, from which nothing is loaded: ${WANTED}`
  return undefined
}

/**
 * What is wrong with the folder of a model.
 *
 * @param folder absolute
 * @param wholly whether all of a model is read, and not its tokenizers only
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
  if (!HUB_MODEL.test(given)) return `there is no such folder. ${WANTED}`
  return `there is no such folder. If ${given} is a model on the Hugging Face hub: fetch it with \`python -m easel_worker.fetch ${given} --to FOLDER\`, then set MODEL=FOLDER (\`npm start\` does both)`
}

function notAFolder(file: string): string {
  if (file.endsWith(`/${INDEX}`)) return `it is a file: name its folder, ${dirname(file)}`
  const how = ALL_IN_ONE.test(file)
    ? '. diffusers makes such a folder of an all-in-one file: StableDiffusionXLPipeline.from_single_file(FILE).save_pretrained(FOLDER)'
    : ''
  return `it is a file. ${WANTED}${how}`
}

function withoutIndex(folder: string): string {
  const below = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(folder, name))
  // The hub's cache keeps a model at snapshots/COMMIT.
  const snapshots = below
    .filter((path) => path.endsWith('/snapshots'))
    .flatMap((path) => readdirSync(path).map((name) => join(path, name)))
  const model = [...below, ...snapshots].find((path) => existsSync(join(path, INDEX)))
  return model === undefined
    ? `it has no ${INDEX}, so it is no model. ${WANTED}`
    : `it has no ${INDEX}, but ${model} has: name that`
}
