// @ts-check
import { residentMib } from '../support/processes.mjs'

/** So many samples of a process are its start: it still loads its code. */
const START = 15

/** @typedef {{ pid: number, at: number, mib: number }} Sample at: requests ended so far */

/** Samples of how much memory processes use, against how much they have done. */
export class MemoryLog {
  constructor() {
    /** @type {Sample[]} */
    this.samples = []
  }

  /**
   * @param {readonly number[]} pids
   * @param {number} done requests ended so far
   */
  note(pids, done) {
    for (const pid of pids) {
      const mib = residentMib(pid)
      if (mib !== undefined) this.samples.push({ pid, at: done, mib })
    }
  }

  /**
   * How much more memory a process uses with every 1,000 requests, in MiB: least squares, with a level of its own for
   * each process, so that restarted workers count together.
   *
   * @param {number} from requests that come before are its warming up
   */
  slope(from) {
    let covariance = 0
    let variance = 0
    for (const pid of new Set(this.samples.map((sample) => sample.pid))) {
      const samples = this.samples
        .filter((sample) => sample.pid === pid)
        .slice(START)
        .filter((sample) => sample.at >= from)
      if (samples.length === 0) continue
      const at = mean(samples.map((sample) => sample.at))
      const mib = mean(samples.map((sample) => sample.mib))
      for (const sample of samples) {
        covariance += (sample.at - at) * (sample.mib - mib)
        variance += (sample.at - at) ** 2
      }
    }
    return variance === 0 ? 0 : (covariance / variance) * 1000
  }

  /** The most that was seen, in MiB. */
  get peak() {
    return Math.max(0, ...this.samples.map(({ mib }) => mib))
  }
}

/** @param {readonly number[]} values */
function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
