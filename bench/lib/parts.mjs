// @ts-check
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { step, StepError } from '../../tools/run.mjs'

/**
 * How a part of a measurement ended: with a result, with an error, or not begun.
 *
 * @typedef {{ result: any } | { error: string } | { skipped: string }} Outcome
 */

/**
 * Runs the parts of a long measurement one after the other. Each result is a file, so a run that was aborted goes on with
 * the first part that has none, and one part's failure does not lose the others.
 */
export class Parts {
  /** @type {Map<string, Outcome>} */
  outcomes = new Map()
  #folder
  #key
  #end

  /**
   * @param {string} folder for the results
   * @param {object} key decides whether a result in the folder may be used again
   * @param {number} seconds the time for all parts
   */
  constructor(folder, key, seconds) {
    this.#folder = folder
    this.#key = JSON.stringify(key)
    this.#end = performance.now() + seconds * 1000
    mkdirSync(folder, { recursive: true })
  }

  /**
   * @param {string} name of the part, and of its file
   * @param {string} title
   * @param {(milliseconds: number) => Promise<any>} work is told how much time is left; what it returns must be JSON
   * @returns {Promise<any>} the result, or undefined if there is none
   */
  async run(name, title, work) {
    const outcome = this.#known(name) ?? (await this.#measure(name, title, work))
    this.outcomes.set(name, outcome)
    return 'result' in outcome ? outcome.result : undefined
  }

  /**
   * Notes that a part has no meaning here.
   *
   * @param {string} name
   * @param {string} reason
   */
  skip(name, reason) {
    this.outcomes.set(name, { skipped: reason })
  }

  /** @param {string} name */
  #known(name) {
    try {
      const { key, result } = JSON.parse(readFileSync(this.#file(name), 'utf8'))
      if (key !== this.#key) return undefined
      process.stdout.write(`• ${name} is in ${this.#file(name)}\n`)
      return { result }
    } catch {
      return undefined
    }
  }

  /**
   * @param {string} name
   * @param {string} title
   * @param {(milliseconds: number) => Promise<any>} work
   * @returns {Promise<Outcome>}
   */
  async #measure(name, title, work) {
    const left = this.#end - performance.now()
    if (left <= 0) return { skipped: 'no time was left' }
    try {
      const result = await step(title, () => work(Math.ceil(left)))
      // Renamed when it is whole: a run may end at any moment.
      writeFileSync(`${this.#file(name)}.new`, `${JSON.stringify({ key: this.#key, result })}\n`)
      renameSync(`${this.#file(name)}.new`, this.#file(name))
      return { result }
    } catch (error) {
      if (!(error instanceof StepError)) throw error
      process.stdout.write(`  failed: ${error.message.trim()}\n`)
      return { error: error.message.trim() }
    }
  }

  /** @param {string} name */
  #file(name) {
    return join(this.#folder, `${name}.json`)
  }
}
