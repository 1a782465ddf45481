// @ts-check
import { residentMib } from '../support/processes.mjs'

/** The first samples of a process, while it still loads its code. */
const START = 15

/** @typedef {{ pid: number, at: number, mib: number }} Sample at: ended requests so far */

/** Samples of the memory that processes use, by the number of ended requests. */
export class MemoryLog {
  constructor() {
    /** @type {Sample[]} */
    this.samples = []
  }

  /**
   * @param {readonly number[]} pids
   * @param {number} done ended requests so far
   */
  note(pids, done) {
    for (const pid of pids) {
      const mib = residentMib(pid)
      if (mib !== undefined) this.samples.push({ pid, at: done, mib })
    }
  }

  /**
   * Returns the growth of a process's memory in MiB per 1,000 requests: least squares with a separate intercept for each
   * process, so that restarted workers count together.
   *
   * @param {number} from ended requests before this are warm-up
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

  /** The highest sample, in MiB. */
  get peak() {
    return Math.max(0, ...this.samples.map(({ mib }) => mib))
  }
}

/** @param {readonly number[]} values */
function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
