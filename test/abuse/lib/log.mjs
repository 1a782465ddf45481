// @ts-check

/** How much of a log to keep, in characters; no attack should produce as much. */
const MOST = 8 * 2 ** 20

/** A process's output. */
export class Log {
  #text = ''

  /** @param {import('node:stream').Readable} stream is read to its end */
  constructor(stream) {
    stream.setEncoding('utf8')
    stream.on('data', (/** @type {string} */ chunk) => {
      if (this.#text.length < MOST) this.#text += chunk
    })
    stream.on('error', () => undefined)
  }

  get text() {
    return this.#text
  }

  /** The length of the longest line so far, in characters. */
  get longest() {
    return Math.max(...this.#text.split('\n').map((line) => line.length))
  }
}
