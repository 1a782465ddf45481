import type { GenerateRequest } from '../api/types.js'
import { Emitter } from '../lib/events.js'

/** A request that a person has asked for. */
export interface Entry {
  readonly id: number
  readonly request: GenerateRequest
}

/** Why nothing begins for now: the model is not there yet, or the last request must be asked for again first. */
export type Hold = 'model' | 'trouble'

interface Events {
  change: undefined
  /** It is this one's turn. `byHand`: it was asked for just now, and did not wait. */
  begin: { entry: Entry; byHand: boolean }
}

/** More than a person can want; a key that is held down is no person. */
export const MOST_WAITING = 50

/**
 * What is to be painted, one request after the other.
 *
 * The page asks the server for one at a time: a browser has six connections to a server over HTTP/1.1, and a stream
 * takes one for as long as it is open.
 */
export class Queue extends Emitter<Events> {
  #waiting: readonly Entry[] = []
  #busy = false
  #holds: ReadonlySet<Hold> = new Set()
  #ids = 0

  get waiting(): readonly Entry[] {
    return this.#waiting
  }

  get holds(): ReadonlySet<Hold> {
    return this.#holds
  }

  /** Asks for one more, and for those that a trouble has held up. @returns whether there was room */
  add(request: GenerateRequest): boolean {
    if (this.#waiting.length >= MOST_WAITING) return false
    this.#waiting = [...this.#waiting, { id: ++this.#ids, request }]
    this.release('trouble', true)
    return true
  }

  /** Asks again for one that did not come to its end, before all others. */
  again(entry: Entry, byHand: boolean): void {
    this.#waiting = [entry, ...this.#waiting]
    this.release('trouble', byHand)
  }

  cancel(id: number): void {
    this.#waiting = this.#waiting.filter((entry) => entry.id !== id)
    this.emit('change', undefined)
  }

  hold(why: Hold): void {
    if (this.#holds.has(why)) return
    this.#holds = new Set([...this.#holds, why])
    this.emit('change', undefined)
  }

  release(why: Hold, byHand = false): void {
    this.#holds = new Set([...this.#holds].filter((hold) => hold !== why))
    this.#next(byHand)
  }

  /** The one that had begun has come to its end. */
  finished(): void {
    this.#busy = false
    this.#next(false)
  }

  #next(byHand: boolean): void {
    const [entry] = this.#waiting
    if (entry !== undefined && !this.#busy && this.#holds.size === 0) {
      this.#busy = true
      this.#waiting = this.#waiting.slice(1)
      this.emit('begin', { entry, byHand })
    }
    this.emit('change', undefined)
  }
}
