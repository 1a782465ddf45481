// @ts-check
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/**
 * What the prober saw. Times are ms; Infinity stands for a question that got no answer.
 *
 * @typedef {object} Probed
 * @property {number[]} admin how long /health took on the port of ADMIN_PORT, as the kubelet asks it, over connections new and kept
 * @property {number[]} kept the same on the port for clients, over one kept-alive connection
 * @property {number[]} fresh the same there, each over a connection of its own
 * @property {number[]} late by how much the prober itself was late
 * @property {number} scrapes of /metrics
 * @property {number[]} gaps what lacked at the scrapes at which the conservation law did not hold
 * @property {Map<string, number>} last the last scrape
 * @property {number} peakMib the most memory that the gateway had in use
 * @property {boolean} guarded whether the gateway was ended for taking more memory than a run allows
 */

const PROGRAM = fileURLToPath(new URL('prober-process.mjs', import.meta.url))

/**
 * Asks a gateway's /health and /metrics at a steady rate, whether the last question is answered or not, as a process of
 * its own: what the attackers do in theirs makes no answer late.
 */
export class Prober {
  #process

  /** @param {{ url: string, adminUrl: string, pid: number, guardMib: number }} target */
  constructor({ url, adminUrl, pid, guardMib }) {
    this.#process = fork(PROGRAM, [url, adminUrl, String(pid), String(guardMib)], { serialization: 'advanced' })
    /** Settles when it asks. */
    this.asks = once(this.#process, 'message')
  }

  /** For as long as the gateway is stopped on purpose. */
  pause() {
    this.#process.send('pause')
  }

  resume() {
    this.#process.send('resume')
  }

  /** @returns {Promise<Probed>} */
  async stop() {
    await this.asks
    const answer = once(this.#process, 'message')
    this.#process.send('stop')
    const [probed] = await answer
    this.#process.disconnect()
    return probed
  }
}
