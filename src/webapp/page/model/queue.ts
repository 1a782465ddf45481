import type { Files, GenerateRequest } from '../api/types.js'
import { Emitter } from '../lib/events.js'

/** A request by the visitor. */
export interface Entry {
  readonly id: number
  readonly request: GenerateRequest
  readonly files: Files
}

/** Why the queue is paused: the model is not ready, or the last request failed and must be retried first. */
export type Hold = 'model' | 'trouble'

interface Events {
  change: undefined
  /** The entry's turn has come. `byHand`: the visitor has just requested it and it did not wait. */
  begin: { entry: Entry; byHand: boolean }
}

/** More than any visitor needs; bounds the effect of a key held down. */
export const MOST_WAITING = 50

/**
 * The visitor's requests, sent one after the other.
 *
 * The page sends one at a time because a browser opens only six HTTP/1.1 connections to a server, and each stream
 * occupies one while it is open.
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

  /** Adds a request and resumes those paused by a failure. @returns whether there was room */
  add(request: GenerateRequest, files: Files = {}): boolean {
    if (this.#waiting.length >= MOST_WAITING) return false
    this.#waiting = [...this.#waiting, { id: ++this.#ids, request, files }]
    this.release('trouble', true)
    return true
  }

  /** Retries a failed entry before all others. */
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

  /** Call when the running entry has ended. */
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
