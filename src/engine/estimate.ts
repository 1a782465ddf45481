/** Weight of the latest measurement in a running mean. */
const SMOOTHING = 0.1

/**
 * Without news for so long, in ms, what was measured is forgotten. Only what runs is measured, and what is expected to
 * take too long is not run: one step that stalled would have everything refused for ever. A step that takes longer
 * than this counts as hung (STEP_TIMEOUT), so a device at work has news before.
 */
const FORGOTTEN_AFTER_MS = 120_000

/** What waits or runs, as far as an estimate needs it. */
export interface Load {
  readonly rows: number
  /** Steps that are still to do. */
  readonly stepsLeft: number
}

/** A mean of what came lately: undefined before the first measurement. */
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
 * Plays the queue forward: when would each load be done, in steps from now?
 *
 * Loads begin in order, each as soon as as many rows are free as it needs, and hold them for all their steps; a step
 * of few rows takes as long as one of many. That is how the workers go about it, but for sizes that take turns and
 * for images that share a request without sharing their rows' end.
 *
 * @param loads what runs, then what waits, in order
 * @param rows rows of all workers together
 * @returns for each load the step after which it is done
 */
export function stepsUntilDone(loads: Iterable<Load>, rows: number): number[] {
  const all = [...loads]
  // More rows than all of them need change nothing.
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

/**
 * Says when work will be done, from how long steps took lately. It knows nothing until a step was measured, nor
 * when none was for a while.
 */
export class Forecast {
  readonly #now: () => number
  #step = new RunningMean()
  #around = new RunningMean()
  #measuredAt = -Infinity

  /** @param now monotonic clock in ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** A denoising step took so many seconds. */
  stepTook(seconds: number): void {
    this.#news()
    this.#step.observe(seconds)
  }

  /** Encoding the prompt and decoding the image took so many seconds together. */
  aroundTook(seconds: number): void {
    this.#news()
    this.#around.observe(seconds)
  }

  /** Seconds from now until each load is done (see `stepsUntilDone`); undefined as long as nothing was measured. */
  secondsUntilDone(loads: Iterable<Load>, rows: number): number[] | undefined {
    const step = this.#step.value
    if (step === undefined || this.#stale) return undefined
    // Until an image is finished its encoding and decoding count for nothing: a forecast that is a little early.
    const around = this.#around.value ?? 0
    return stepsUntilDone(loads, rows).map((steps) => steps * step + around)
  }

  /** Seconds that so many steps and what comes after them take; undefined as long as nothing was measured. */
  secondsLeft(steps: number): number | undefined {
    return this.secondsUntilDone([{ rows: 1, stepsLeft: steps }], 1)?.[0]
  }

  get #stale(): boolean {
    return this.#now() - this.#measuredAt > FORGOTTEN_AFTER_MS
  }

  #news(): void {
    if (this.#stale) {
      this.#step = new RunningMean()
      this.#around = new RunningMean()
    }
    this.#measuredAt = this.#now()
  }
}
