import { readFile } from 'node:fs/promises'
import type { Log } from '../logger.js'
import { type AccessKey, findKey, parseKeys } from './keys.js'

/** How often the file is looked at, in ms. Kubernetes takes longer to bring a changed Secret to a Pod. */
const RELOAD_MS = 1000

/** The keys of a file, which may change while the server runs. */
export class KeyFile {
  readonly #path: string
  readonly #log: Log
  readonly #timer: NodeJS.Timeout
  #text: string
  #keys: readonly AccessKey[]

  /** @throws Error that names the file when it cannot be used */
  static async open(path: string, log: Log): Promise<KeyFile> {
    try {
      const text = await readText(path)
      return new KeyFile(path, log, text, parseKeys(text))
    } catch (error) {
      throw new Error(`the key file ${path} cannot be used: ${(error as Error).message}`, { cause: error })
    }
  }

  private constructor(path: string, log: Log, text: string, keys: readonly AccessKey[]) {
    this.#path = path
    this.#log = log
    this.#text = text
    this.#keys = keys
    this.#timer = setInterval(() => void this.#reload(), RELOAD_MS)
    this.#timer.unref()
  }

  find(token: string): AccessKey | undefined {
    return findKey(this.#keys, token)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** Takes over a changed file; one that cannot be used changes nothing and is logged once. */
  async #reload(): Promise<void> {
    const text = await readText(this.#path).catch(() => this.#text)
    if (text === this.#text) return
    this.#text = text
    try {
      this.#keys = parseKeys(text)
      this.#log.info(
        { keys: this.#keys.map(({ name }) => name) },
        `the key file has changed: ${this.#keys.length} keys`
      )
    } catch (error) {
      this.#log.error(
        { file: this.#path },
        `the changed key file cannot be used, the keys before it stay: ${(error as Error).message}`
      )
    }
  }
}

/** Editors on Windows begin a file with a byte order mark, which is no JSON. */
async function readText(path: string): Promise<string> {
  return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '')
}
