import type { Run } from './run.js'

/** Counts the requests in flight of each caller. A request counts until it has ended and its answers are read. */
export class Concurrency {
  readonly #inFlight = new Map<string, number>()
  readonly #listeners: ((scope: string) => void)[] = []

  of(scope: string): number {
    return this.#inFlight.get(scope) ?? 0
  }

  /** Calls `listener` after each change, with the caller's scope. */
  onChange(listener: (scope: string) => void): void {
    this.#listeners.push(listener)
  }

  /** Counts a run toward its caller until its weight is 0. */
  add(scope: string, run: Run): void {
    let counted = 0
    run.onChange(() => {
      const { weight } = run
      this.#change(scope, weight - counted)
      counted = weight
    })
  }

  #change(scope: string, by: number): void {
    if (by === 0) return
    const left = this.of(scope) + by
    if (left === 0) this.#inFlight.delete(scope)
    else this.#inFlight.set(scope, left)
    for (const listener of this.#listeners) listener(scope)
  }
}
