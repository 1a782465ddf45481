import type { Run } from './run.js'
import { scoped } from './scoped.js'

/** Finds running requests by the name that their clients gave them. */
export class RunsInFlight {
  readonly #runs = new Map<string, Set<Run>>()

  /**
   * @param scope the caller; the same id from different callers names different runs
   * @param id need not be unique
   */
  add(scope: string, id: string, run: Run): void {
    if (run.ended) return
    const name = scoped(scope, id)
    const known = this.#runs.get(name)
    if (known?.has(run)) return
    const runs = known ?? new Set()
    runs.add(run)
    this.#runs.set(name, runs)
    run.onEnd(() => {
      runs.delete(run)
      if (runs.size === 0) this.#runs.delete(name)
    })
  }

  find(scope: string, id: string): readonly Run[] {
    return [...(this.#runs.get(scoped(scope, id)) ?? [])]
  }
}
