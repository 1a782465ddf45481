import { EaselError } from '../errors.js'
import { Repeater } from '../repeater.js'
import type { WorkParts } from './parts.js'
import { BatchWork } from './work.js'

/** Batches that one gateway works on at a time, in all and of one caller: some may wait for room for hours. */
const MOST = 256
const MOST_OF_ONE = 8

/** ms between two looks for batches that nobody works on. */
const LOOK_MS = 1000

/** Works on the batches of a store that no other gateway works on. */
export class BatchRunner {
  readonly #parts: WorkParts
  readonly #works = new Map<string, { work: BatchWork; done: Promise<void> }>()
  readonly #timer: NodeJS.Timeout
  readonly #claiming = new Repeater(() => this.#claim())
  #stopped = false

  constructor(parts: WorkParts) {
    this.#parts = parts
    this.#timer = setInterval(() => this.wake(), LOOK_MS)
    this.#timer.unref()
  }

  /** Batches that this gateway works on. */
  get working(): number {
    return this.#works.size
  }

  /** Looks for batches. Call it when one may have come. */
  wake(): void {
    if (this.#stopped) return
    this.#claiming.ask()
  }

  /** Looks at a batch whose owner wants its end, should it be here. */
  look(id: string): void {
    this.#works.get(id)?.work.look()
  }

  /** Leaves all batches to others. */
  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
    for (const { work } of this.#works.values()) work.leave()
  }

  /** Waits until no batch is worked on here. */
  async close(): Promise<void> {
    this.stop()
    await this.#claiming.rest()
    await Promise.all([...this.#works.values()].map(({ done }) => done))
  }

  /** Callers of whom this gateway works on enough batches. */
  #busy(): string[] {
    const counts = new Map<string, number>()
    for (const { work } of this.#works.values()) counts.set(work.scope, (counts.get(work.scope) ?? 0) + 1)
    return [...counts].filter(([, count]) => count >= MOST_OF_ONE).map(([scope]) => scope)
  }

  async #claim(): Promise<void> {
    const { records } = this.#parts.jobs.store
    try {
      while (this.#works.size < MOST && !this.#stopped) {
        const claim = await records.claim(this.#busy())
        if (claim === undefined) return
        const work = new BatchWork(this.#parts, claim)
        // Ids are random, and those made of a key have its scope in them.
        const { id } = work
        const done = work.run().finally(() => {
          if (this.#works.get(id)?.work === work) this.#works.delete(id)
          this.wake()
        })
        this.#works.set(id, { work, done })
        if (this.#stopped) work.leave()
      }
    } catch (error) {
      if (!(error instanceof EaselError)) this.#parts.log.error({ err: error }, 'no batch could be claimed')
    }
  }
}
