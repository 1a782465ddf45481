import type { Run } from './run.js'

/** How many requests each caller has under way: until a request has ended, and until its answers are read. */
export class Shares {
  readonly #underWay = new Map<string, number>()

  of(scope: string): number {
    return this.#underWay.get(scope) ?? 0
  }

  /** Counts a run for its caller from now on. */
  add(scope: string, run: Run): void {
    let counted = 0
    run.onChange(() => {
      const { weight } = run
      this.#change(scope, weight - counted)
      counted = weight
    })
  }

  #change(scope: string, by: number): void {
    const left = this.of(scope) + by
    if (left === 0) this.#underWay.delete(scope)
    else this.#underWay.set(scope, left)
  }
}
