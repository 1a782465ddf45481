import type { Run } from './run.js'

/** Counts the requests in flight of each caller. A request counts until it has ended and its answers are read. */
export class Shares {
  readonly #underWay = new Map<string, number>()

  of(scope: string): number {
    return this.#underWay.get(scope) ?? 0
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
    const left = this.of(scope) + by
    if (left === 0) this.#underWay.delete(scope)
    else this.#underWay.set(scope, left)
  }
}
