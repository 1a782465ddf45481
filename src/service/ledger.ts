/** How an accepted request can end. Each has exactly one outcome. */
export const OUTCOMES = ['succeeded', 'failed', 'cancelled', 'expired'] as const
export type Outcome = (typeof OUTCOMES)[number]

/** One accepted request in the ledger. */
export interface Entry {
  /** Ends the request; only the first call counts. */
  end: (outcome: Outcome) => void
}

/**
 * Counts requests such that accepted = succeeded + failed + cancelled + expired + in flight at any moment.
 *
 * `inFlight` is derived, so a forgotten decrement cannot break the equation: a request that never ends stays visible as
 * in flight.
 */
export class Ledger {
  #accepted = 0
  readonly #ended: Record<Outcome, number> = { succeeded: 0, failed: 0, cancelled: 0, expired: 0 }

  get accepted(): number {
    return this.#accepted
  }

  get ended(): Readonly<Record<Outcome, number>> {
    return this.#ended
  }

  get inFlight(): number {
    return this.#accepted - OUTCOMES.reduce((sum, outcome) => sum + this.#ended[outcome], 0)
  }

  accept(): Entry {
    this.#accepted += 1
    let ended = false
    return {
      end: (outcome) => {
        if (ended) return
        ended = true
        this.#ended[outcome] += 1
      }
    }
  }
}
