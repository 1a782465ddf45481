/** Weight of the latest step in the running mean. */
const SMOOTHING = 0.1

/** What waits or runs, as far as an estimate needs it. */
export interface Load {
  readonly rows: number
  readonly job: { readonly steps: number }
}

/**
 * Guesses how long work takes, from how long steps took lately.
 *
 * A step of full rows and one of a single row cost about the same on a chip that is not full, so the mean is over
 * steps, and the work is counted in row-steps divided by the rows that all workers have together.
 */
export class Estimator {
  /** Mean seconds of a step lately; undefined before the first. */
  #stepSeconds: number | undefined

  observe(seconds: number): void {
    this.#stepSeconds = this.#stepSeconds === undefined ? seconds : this.#stepSeconds + SMOOTHING * (seconds - this.#stepSeconds)
  }

  /** Seconds until the loads are all done, if nothing else comes. 0 when nothing is known yet. */
  secondsFor(loads: Iterable<Load>, rows: number): number {
    let rowSteps = 0
    for (const load of loads) rowSteps += load.rows * load.job.steps
    return ((this.#stepSeconds ?? 0) * rowSteps) / Math.max(1, rows)
  }
}
