import type { SharedState } from './shared.js'

interface Counted {
  current: number
  ttl: number
}

type Done = (error: Error | null, result?: Counted) => void

/**
 * A store for @fastify/rate-limit that counts at all gateways together. While their store is away, each gateway counts
 * its own requests.
 */
export function sharedRates(shared: SharedState) {
  return class SharedRates {
    /** By name; as many as there are access keys. */
    readonly own = new Map<string, { current: number; since: number }>()

    incr(name: string, done: Done, window: number): void {
      void this.#counted(name, window).then((counted) => setImmediate(done, null, counted))
    }

    async #counted(name: string, window: number): Promise<Counted> {
      return shared.count(`rate:${name}`, window).catch(() => this.#count(name, window))
    }

    child(): SharedRates {
      return this
    }

    #count(name: string, window: number): Counted {
      const now = performance.now()
      const known = this.own.get(name)
      const { current, since } = known === undefined || now - known.since >= window ? { current: 0, since: now } : known
      this.own.set(name, { current: current + 1, since })
      return { current: current + 1, ttl: Math.ceil(since + window - now) }
    }
  }
}
