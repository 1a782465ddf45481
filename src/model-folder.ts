import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

const INDEX = 'model_index.json'
const HUB_MODEL = /^\w[\w.-]*\/\w[\w.-]*(@[\w./-]+)?$/
const HUB_PAGE = /^https?:\/\/(?:huggingface\.co|hf\.co)\/(\w[\w.-]*\/\w[\w.-]*)(?:\/(?:tree|blob|resolve)\/([\w.-]+))?/
const ALL_IN_ONE = /\.(safetensors|ckpt|pt|pth|bin)$/

const WANTED = 'MODEL is a folder as diffusers lays it out, or, for `npm start`, a model of the Hugging Face hub such as stabilityai/stable-diffusion-xl-base-1.0'

/**
 * The folder that MODEL names, absolute.
 *
 * @param wholly whether all of a model is read, and not its tokenizers only
 * @throws Error that says what is there instead, and what to give
 */
export function modelFolder(value: string, wholly: boolean): string {
  const folder = resolve(value)
  const found = statSync(folder, { throwIfNoEntry: false })
  if (found === undefined) throw new Error(absent(value, folder))
  if (!found.isDirectory()) throw new Error(notAFolder(folder))
  if (wholly && !existsSync(join(folder, INDEX))) throw new Error(withoutIndex(folder))
  return folder
}

function absent(value: string, folder: string): string {
  const [page, name, revision] = HUB_PAGE.exec(value) ?? []
  if (page !== undefined) return `is a page of the Hugging Face hub: write ${name}${revision === undefined ? '' : `@${revision}`} with \`npm start\`, or fetch it into a folder and name that`
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) return `is an address, from which nothing is loaded: ${WANTED}`
  if (HUB_MODEL.test(value)) {
    return `there is no folder ${folder}. If it is a model on the Hugging Face hub: fetch it with \`python -m easel_worker.fetch ${value} --to FOLDER\`, then set MODEL=FOLDER (\`npm start\` does both)`
  }
  return `there is no folder ${folder}. ${WANTED}`
}

function notAFolder(file: string): string {
  if (file.endsWith(`/${INDEX}`)) return `is a file: name its folder, ${dirname(file)}`
  const how = ALL_IN_ONE.test(file) ? '. diffusers makes such a folder of an all-in-one file: StableDiffusionXLPipeline.from_single_file(FILE).save_pretrained(FOLDER)' : ''
  return `is a file. ${WANTED}${how}`
}

function withoutIndex(folder: string): string {
  const below = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
  // The hub's cache keeps a model at snapshots/COMMIT.
  const snapshots = below.filter((path) => path.endsWith('/snapshots')).flatMap((path) => readdirSync(path).map((name) => join(path, name)))
  const model = [...below, ...snapshots].find((path) => existsSync(join(path, INDEX)))
  return model === undefined ? `${folder} has no ${INDEX}, so it is no model. ${WANTED}` : `${folder} has no ${INDEX}, but ${model} has: name that`
}
