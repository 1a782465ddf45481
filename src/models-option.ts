import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parseNumber } from './options.js'

/** One model to serve. */
export interface ModelEntry {
  /** The name by which requests choose it; undefined for the only model, which has the name that its workers report. */
  readonly name: string | undefined
  /** Its folder, absolute. */
  readonly path: string
  /** The device that it shares with other models, which take turns; undefined if its workers always run. */
  readonly device: string | undefined
  /** Number of workers to start for it; undefined for WORKERS. */
  readonly workers: number | undefined
  /** Arguments for its workers, after WORKER_ARGS. */
  readonly args: readonly string[]
  /** Environment variables of its workers, on top of the gateway's own. */
  readonly env: Readonly<Record<string, string>>
}

/** The same as the worker's option --model-name takes (easel_worker/parse.py). */
const NAME = /^[0-9A-Za-z][0-9A-Za-z._/-]{0,127}$/
export const MAX_WORKERS = 64

/**
 * Parses MODELS: `NAME=PATH,NAME=PATH`, or the path of a JSON file with a list of
 * `{"name", "path", "device", "workers", "args", "env"}`, of which all but the first two are optional. The first model is
 * the default.
 *
 * @throws Error that names the entry and key that are wrong, and says what is right
 */
export function parseModels(text: string): ModelEntry[] {
  const entries = text.includes('=') ? listIn(text) : fileAt(text)
  if (entries.length === 0) throw new Error('must name at least one model')
  const names = entries.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw new Error(`names the model ${twice} twice`)
  return entries
}

function listIn(text: string): ModelEntry[] {
  const parts = text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean)
  return parts.map((part) => {
    const [name = '', ...path] = part.split('=')
    return entryOf({ name, path: path.join('=') }, JSON.stringify(part), process.cwd())
  })
}

function fileAt(path: string): ModelEntry[] {
  const list = parsed(path)
  if (!Array.isArray(list))
    throw new Error('must be NAME=PATH,NAME=PATH, or a JSON file with a list of {"name": "…", "path": "…"}')
  return list.map((entry, index) => entryOf(entry, `entry ${index + 1}`, dirname(resolve(path))))
}

function parsed(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Error(
      code === 'ENOENT'
        ? 'there is no such file; write NAME=PATH,NAME=PATH or the path of a JSON file'
        : `cannot read the file: ${message}`,
      { cause: error }
    )
  }
}

const KEYS: ReadonlySet<string> = new Set(['name', 'path', 'device', 'workers', 'args', 'env'])

function entryOf(entry: unknown, where: string, folder: string): ModelEntry {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
    throw new Error(`${where} must be an object with "name" and "path"`)
  const unknown = Object.keys(entry).find((key) => !KEYS.has(key))
  if (unknown !== undefined) throw new Error(`${where}: unknown key "${unknown}"; known are ${[...KEYS].join(', ')}`)
  const { name, path, device, workers, args = [], env = {} } = entry as Record<string, unknown>
  const wrong = (key: string, what: string) =>
    new Error(`${where}: "${key}" is ${JSON.stringify((entry as Record<string, unknown>)[key])}; it must be ${what}`)
  if (typeof name !== 'string' || !NAME.test(name))
    throw wrong('name', '1 to 128 characters of A-Z a-z 0-9 . _ - /, first of A-Z a-z 0-9')
  if (typeof path !== 'string' || path === '') throw wrong('path', "a model folder in diffusers' layout")
  if (device !== undefined && (typeof device !== 'string' || device === '')) throw wrong('device', 'a name')
  if (!isStrings(args)) throw wrong('args', 'a list of texts')
  if (!isVariables(env)) throw wrong('env', 'an object of texts')
  return { name, path: resolve(folder, path), device, workers: countOf(workers, wrong), args, env }
}

function countOf(workers: unknown, wrong: (key: string, what: string) => Error): number | undefined {
  if (workers === undefined) return undefined
  try {
    return parseNumber(typeof workers === 'number' ? String(workers) : '', { min: 1, max: MAX_WORKERS, integer: true })
  } catch {
    throw wrong('workers', `a whole number from 1 to ${MAX_WORKERS}`)
  }
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string')
}

function isVariables(value: unknown): value is Record<string, string> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && isStrings(Object.values(value))
}
