/**
 * Does work one time at a time. What is asked for while it is done is done afterwards, once, however often it was asked for.
 */
export class Repeater {
  readonly #work: () => Promise<void>
  #again = false
  #running: Promise<void> | undefined

  /** @param work never throws */
  constructor(work: () => Promise<void>) {
    this.#work = work
  }

  ask(): void {
    this.#again = true
    this.#running ??= this.#run()
  }

  /** Waits until nothing is done any more. */
  async rest(): Promise<void> {
    await this.#running
  }

  async #run(): Promise<void> {
    while (this.#again) {
      this.#again = false
      await this.#work()
    }
    // Not in a `finally` of the promise: what is asked for before that runs would be forgotten.
    this.#running = undefined
  }
}
