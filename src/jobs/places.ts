import { randomUUID } from 'node:crypto'
import type { EaselError } from '../errors.js'
import type { Caller } from '../service/caller.js'
import type { Place, SharedPlaces } from './shared.js'
import type { JobStore } from './store.js'

/** What counts and refuses a gateway's own requests; `ImageService`. */
export interface OwnRequests {
  inFlightOf: (scope: string) => number
  onInFlight: (listener: (scope: string) => void) => void
  counts: (model: string | undefined, caller: Limited) => boolean
  overConcurrency: (model: string | undefined, scope: string, most: number) => EaselError
}

type Limited = Pick<Caller, 'scope' | 'key' | 'concurrency'>

export interface PlacesOptions {
  store: Pick<JobStore, 'onChange'> & { readonly shared: { readonly places: SharedPlaces } | undefined }
  service: OwnRequests
}

/** What this gateway has of a key. Its places have numbers, the lowest that are free. */
interface Taken {
  /** Requests that are let in, or ask for it, and are not accepted yet. */
  coming: number
  /** Numbers that are asked for. */
  readonly asked: Set<number>
  /** Those of the places that it has. */
  readonly had: Set<number>
  /** Those that it may have and does not want. */
  readonly left: Set<number>
}

/**
 * Keeps the requests in flight of each access key below its limit, at all gateways of a job store together. A request takes
 * a place before it is accepted; what it then counts as at this gateway says when the place is free. While the store is away,
 * each gateway counts its own.
 */
export class Places {
  readonly #service: OwnRequests
  readonly #shared: SharedPlaces | undefined
  readonly #process = randomUUID()
  readonly #taken = new Map<string, Taken>()
  readonly #timer: NodeJS.Timeout | undefined
  readonly #unwatch: (() => void) | undefined

  constructor({ store, service }: PlacesOptions) {
    this.#service = service
    this.#shared = store.shared?.places
    if (this.#shared === undefined) return
    service.onInFlight((scope) => this.#giveBack(scope))
    this.#timer = setInterval(() => this.#keep(), this.#shared.lease / 3)
    this.#timer.unref()
    // No name: the store may have been away.
    this.#unwatch = store.onChange((name) => name === undefined && this.#keep())
  }

  /**
   * Does something with a request, such as to submit it, while it has a place.
   *
   * @param model of the request; undefined for the default one
   * @throws EaselError CONCURRENCY_LIMITED, or another refusal of a request whatever it asks for
   */
  async during<T>(model: string | undefined, caller: Limited, work: () => T | Promise<T>): Promise<T> {
    const { scope, concurrency: most } = caller
    if (this.#shared === undefined || most === undefined || !this.#counts(model, caller, most)) return work()
    const leave = await this.#take(this.#shared, scope, most)
    if (leave === undefined) throw this.#service.overConcurrency(model, scope, most)
    try {
      return await work()
    } finally {
      leave()
    }
  }

  /** Refuses what `during` would refuse. @throws EaselError */
  async refuseWhenFull(model: string | undefined, caller: Limited): Promise<void> {
    const { scope, concurrency: most } = caller
    if (this.#shared === undefined || most === undefined || !this.#counts(model, caller, most)) return
    if (!(await this.#shared.free(scope, most).catch(() => true)))
      throw this.#service.overConcurrency(model, scope, most)
  }

  /** Gives all places back. Call it when the last requests have ended. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#unwatch?.()
    const all = this.#places(({ had, left }) => [...had, ...left])
    this.#taken.clear()
    await this.#shared?.leave(all).catch(() => undefined)
  }

  /** Whether a request needs a place. @throws EaselError if this gateway alone has reason to refuse it */
  #counts(model: string | undefined, caller: Limited, most: number): boolean {
    if (!this.#service.counts(model, caller)) return false
    if (this.#need(caller.scope) >= most) throw this.#service.overConcurrency(model, caller.scope, most)
    return true
  }

  /** Returns what gives the place back; undefined if all are taken. */
  async #take(shared: SharedPlaces, scope: string, most: number): Promise<(() => void) | undefined> {
    const taken = this.#of(scope)
    const { asked, had, left } = taken
    const number = freeNumber(taken)
    taken.coming += 1
    asked.add(number)
    left.delete(number)
    // A place that may be taken is kept as if it were, which it is once the store is back.
    const granted = await shared.take(this.#place(scope, number), most).catch(() => true)
    asked.delete(number)
    if (granted) had.add(number)
    const leave = () => {
      taken.coming -= 1
      this.#giveBack(scope)
    }
    if (granted) return leave
    leave()
    return undefined
  }

  /** Gives back the places of which there are more than requests. */
  #giveBack(scope: string): void {
    const taken = this.#taken.get(scope)
    if (taken === undefined) return
    const { asked, had } = taken
    const many = Math.max(0, had.size + asked.size - this.#need(scope))
    const gone = [...had].slice(had.size - many)
    for (const number of gone) had.delete(number)
    if (gone.length > 0)
      this.#shared!.leave(gone.map((number) => this.#place(scope, number))).catch(() => {
        const now = this.#of(scope)
        for (const number of gone) if (!now.had.has(number) && !now.asked.has(number)) now.left.add(number)
      })
    this.#forget(scope)
  }

  /** Begins the leases anew. Requests of before the key had a limit get places too. */
  #keep(): void {
    const shared = this.#shared!
    for (const [scope, taken] of this.#taken)
      while (taken.had.size + taken.asked.size < this.#need(scope)) {
        const number = freeNumber(taken)
        taken.had.add(number)
        taken.left.delete(number)
      }
    shared.keep(this.#places(({ had }) => [...had])).catch(() => undefined)
    const gone = [...this.#taken].map(([scope, { left }]) => ({ scope, numbers: [...left] }))
    shared
      .leave(this.#places(({ left }) => [...left]))
      .then(() => {
        for (const { scope, numbers } of gone) {
          for (const number of numbers) this.#taken.get(scope)?.left.delete(number)
          this.#forget(scope)
        }
      })
      .catch(() => undefined)
  }

  /** How many places this gateway should have. */
  #need(scope: string): number {
    return this.#service.inFlightOf(scope) + (this.#taken.get(scope)?.coming ?? 0)
  }

  #of(scope: string): Taken {
    const taken = this.#taken.get(scope) ?? { coming: 0, asked: new Set(), had: new Set(), left: new Set() }
    this.#taken.set(scope, taken)
    return taken
  }

  #forget(scope: string): void {
    const taken = this.#taken.get(scope)
    if (taken !== undefined && taken.coming + taken.had.size + taken.left.size === 0) this.#taken.delete(scope)
  }

  #places(numbers: (taken: Taken) => readonly number[]): Place[] {
    return [...this.#taken].flatMap(([scope, taken]) => numbers(taken).map((number) => this.#place(scope, number)))
  }

  #place(scope: string, number: number): Place {
    return { scope, name: `${this.#process}:${number}` }
  }
}

function freeNumber({ asked, had }: Taken): number {
  let number = 0
  while (asked.has(number) || had.has(number)) number += 1
  return number
}
