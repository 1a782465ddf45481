/** How an accepted request can end. Every one ends in exactly one of these. */
export const OUTCOMES = ['succeeded', 'failed', 'cancelled', 'expired'] as const
export type Outcome = (typeof OUTCOMES)[number]

/** An accepted request's line in the ledger. */
export interface Entry {
  /** Ends the request; only the first call counts. */
  end: (outcome: Outcome) => void
}

/**
 * Counts requests so that, at any moment, accepted = succeeded + failed + cancelled + expired + in flight.
 *
 * In flight is derived and never counted by itself, so the law cannot be broken by a forgotten decrement: a request
 * that is not ended shows as in flight.
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
