// @ts-check
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/**
 * The prober's measurements. Times are in ms; Infinity means no answer.
 *
 * @typedef {object} Probed
 * @property {number[]} admin times of /health on ADMIN_PORT, which the kubelet uses, over new and kept-alive connections
 * @property {number[]} kept the same on the clients' port, over one kept-alive connection
 * @property {number[]} fresh the same on the clients' port, over a new connection each
 * @property {number[]} late delays of the prober itself
 * @property {number} scrapes number of scrapes of /metrics
 * @property {number[]} gaps the differences at scrapes that broke the conservation law
 * @property {Map<string, number>} last the last scrape
 * @property {number} peakMib the gateway's peak memory
 * @property {boolean} guarded whether the prober ended the gateway for using too much memory
 */

const PROGRAM = fileURLToPath(new URL('prober-process.mjs', import.meta.url))

/**
 * Requests a gateway's /health and /metrics at a steady rate without waiting for earlier answers. It is a process of its
 * own, so that the attackers do not delay it.
 */
export class Prober {
  #process

  /** @param {{ url: string, adminUrl: string, pid: number, guardMib: number }} target */
  constructor({ url, adminUrl, pid, guardMib }) {
    this.#process = fork(PROGRAM, [url, adminUrl, String(pid), String(guardMib)], { serialization: 'advanced' })
    /** Settles when it has started. */
    this.asks = once(this.#process, 'message')
  }

  /** Pauses it while the gateway is stopped on purpose. */
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
