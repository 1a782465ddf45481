// @ts-check

/** As much of a log is kept as no attack should make it be, in characters. */
const MOST = 8 * 2 ** 20

/** What a process printed. */
export class Log {
  #text = ''

  /** @param {import('node:stream').Readable} stream read to its end */
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

  /** Length of the longest line so far, in characters. */
  get longest() {
    return Math.max(...this.#text.split('\n').map((line) => line.length))
  }
}
