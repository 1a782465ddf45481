import { readFile } from 'node:fs/promises'
import type { Log } from '../logger.js'
import { type AccessKey, findKey, parseKeys } from './keys.js'

/** Interval between checks of the file, in ms. Kubernetes takes longer to update a Secret in a Pod. */
const RELOAD_MS = 1000

/** The keys of a file, reloaded when the file changes. */
export class KeyFile {
  readonly #path: string
  readonly #log: Log
  readonly #timer: NodeJS.Timeout
  #text: string
  #keys: readonly AccessKey[]

  /** @throws Error that names the file when it is unreadable or invalid */
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

  /** The key of this name, as the file is now. */
  named(name: string): AccessKey | undefined {
    return this.#keys.find((key) => key.name === name)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** Loads a changed file. An invalid one is logged once and leaves the keys as they were. */
  async #reload(): Promise<void> {
    const text = await readText(this.#path).catch(() => this.#text)
    if (text === this.#text) return
    this.#text = text
    try {
      this.#keys = parseKeys(text)
      this.#log.info(
        { keys: this.#keys.map(({ name }) => name) },
        `reloaded the changed key file: ${this.#keys.length} keys`
      )
    } catch (error) {
      this.#log.error(
        { file: this.#path },
        `the changed key file cannot be used, so the previous keys stay valid: ${(error as Error).message}`
      )
    }
  }
}

/** Strips the byte order mark that Windows editors write, which JSON.parse rejects. */
async function readText(path: string): Promise<string> {
  return (await readFile(path, 'utf8')).replace(/^\uFEFF/, '')
}
