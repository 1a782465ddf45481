/** How many requests each caller has in flight. */
export class Shares {
  readonly #inFlight = new Map<string, number>()

  of(scope: string): number {
    return this.#inFlight.get(scope) ?? 0
  }

  enter(scope: string): void {
    this.#inFlight.set(scope, this.of(scope) + 1)
  }

  leave(scope: string): void {
    const left = this.of(scope) - 1
    if (left === 0) this.#inFlight.delete(scope)
    else this.#inFlight.set(scope, left)
  }
}
