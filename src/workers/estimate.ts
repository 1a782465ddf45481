/** Weight of the latest measurement in the exponential moving average. */
const SMOOTHING = 0.1

/**
 * Measurements expire after this many ms without a new one. Requests that are forecast to miss their deadline are
 * refused, and a refused request measures nothing: without expiry, one stalled step could refuse every request forever.
 * By default a step that takes this long counts as hung (STEP_TIMEOUT), so a busy device reports sooner.
 */
const EXPIRES_AFTER_MS = 120_000

/** What an estimate needs to know of a waiting or running job. */
export interface Load {
  readonly rows: number
  /** Steps of the workers: a second-order scheduler takes two of them for one step of a request. */
  readonly stepsLeft: number
}

/** An exponential moving average; undefined before the first measurement. */
class RunningMean {
  #value: number | undefined

  get value(): number | undefined {
    return this.#value
  }

  observe(value: number): void {
    this.#value = this.#value === undefined ? value : this.#value + SMOOTHING * (value - this.#value)
  }
}

/**
 * Simulates the queue: when will each load be done, in steps from now?
 *
 * Loads start in order, each as soon as enough rows are free, and keep those rows for all their steps. A step takes the
 * same time however many rows it has. Workers differ in two ways: sizes take turns, and the images of one request free
 * their rows separately.
 *
 * @param loads the running loads, then the waiting ones, in order
 * @param rows total rows of all workers
 * @returns for each load, the step after which it is done
 */
export function stepsUntilDone(loads: Iterable<Load>, rows: number): number[] {
  const all = [...loads]
  // Rows beyond total demand cannot change the result. Never size an array by a number a worker sends.
  const needed = all.reduce((sum, load) => sum + load.rows, 0)
  /** For each row, the step after which it is free; ascending. */
  const free: number[] = Array.from({ length: Math.max(1, Math.min(rows, needed)) }, () => 0)
  const done: number[] = []
  for (const load of all) {
    const taken = Math.min(load.rows, free.length)
    const end = free[taken - 1]! + load.stepsLeft
    free.splice(0, taken)
    const later = free.findIndex((step) => step > end)
    free.splice(later === -1 ? free.length : later, 0, ...Array.from({ length: taken }, () => end))
    done.push(end)
  }
  return done
}

/** Forecasts when work will be done from recent step times. Forecasts nothing without a recent measurement. */
export class Forecast {
  readonly #now: () => number
  #step = new RunningMean()
  #overhead = new RunningMean()
  #measuredAt = -Infinity

  /** @param now monotonic clock in ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Records the duration of one denoising step. */
  stepTook(seconds: number): void {
    this.#expireStale()
    this.#step.observe(seconds)
  }

  /** Records how long encoding the prompt and decoding the image took together. */
  overheadTook(seconds: number): void {
    this.#expireStale()
    this.#overhead.observe(seconds)
  }

  /** Seconds from now until each load is done (see `stepsUntilDone`). Undefined without a recent step time. */
  secondsUntilDone(loads: Iterable<Load>, rows: number): number[] | undefined {
    const step = this.#step.value
    if (step === undefined || this.#stale) return undefined
    // Before the first finished image, encoding and decoding count as 0, so the forecast is slightly too early.
    const overhead = this.#overhead.value ?? 0
    return stepsUntilDone(loads, rows).map((steps) => steps * step + overhead)
  }

  /** Seconds that `steps` steps plus encoding and decoding take. Undefined without a recent step time. */
  secondsLeft(steps: number): number | undefined {
    return this.secondsUntilDone([{ rows: 1, stepsLeft: steps }], 1)?.[0]
  }

  get #stale(): boolean {
    return this.#now() - this.#measuredAt > EXPIRES_AFTER_MS
  }

  #expireStale(): void {
    if (this.#stale) {
      this.#step = new RunningMean()
      this.#overhead = new RunningMean()
    }
    this.#measuredAt = this.#now()
  }
}
