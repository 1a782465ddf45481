/**
 * Does things in the order they come, at most so many of them in a turn of the event loop; the others wait for later turns.
 * Hundreds of sockets can be ready at once, and what is not ours to hold up, such as a probe, comes in between.
 */
export class Turns {
  readonly #most: number
  readonly #waiting: (() => void)[] = []
  #done = 0

  /** @param most how many of them in a turn */
  constructor(most: number) {
    this.#most = most
  }

  /** Does it now if the turn has room for it and nobody waits, or in a later turn. */
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
