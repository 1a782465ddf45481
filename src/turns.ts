/**
 * Runs actions in order, a limited number per turn of the event loop. Hundreds of sockets can be ready at once;
 * deferring the rest to later turns lets other work, such as a probe, run in between.
 */
export class Turns {
  readonly #most: number
  readonly #waiting: (() => void)[] = []
  #done = 0

  /** @param most actions per turn */
  constructor(most: number) {
    this.#most = most
  }

  /** Runs the action now if this turn has room and none is waiting, otherwise in a later turn. */
  run(act: () => void): void {
    if (this.#done >= this.#most || this.#waiting.length > 0) {
      this.#waiting.push(act)
      return
    }
    this.#count()
    act()
  }

  #count(): void {
    this.#done += 1
    if (this.#done === 1) setImmediate(() => this.#next())
  }

  #next(): void {
    this.#done = 0
    for (const act of this.#waiting.splice(0, this.#most)) {
      this.#count()
      act()
    }
  }
}
