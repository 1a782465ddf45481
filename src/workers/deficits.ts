/** A name that waits, with the cost of its next job. */
export interface Head {
  readonly name: string
  /** Credit that it gets in one round. Positive. */
  readonly weight: number
  /** Of its next job. Positive. */
  readonly cost: number
}

interface Account {
  balance: number
  /** Equal claims go to the lower one. */
  turn: number
}

/**
 * Deficit round robin: in each round a name that waits gets its weight as credit, and the first whose credit covers the
 * cost of its next job is served and pays for it. Rounds are as short as needed, so an expensive job takes as long as
 * many cheap ones and no name is visited in vain.
 *
 * While a name waits, its credit is between 0 and C, the cost of its dearest job. Of two names that wait during the same
 * time, both got the same number of rounds, so what they were served for, divided by their weights, differs by at most
 * C/weight of the one plus C/weight of the other.
 *
 * @see https://doi.org/10.1145/217382.217453 Shreedhar and Varghese, "Efficient fair queueing using deficit round robin"
 */
export class DeficitRounds {
  readonly #accounts = new Map<string, Account>()
  #turns = 0

  /** Equal accounts that change separately. */
  copy(): DeficitRounds {
    const copy = new DeficitRounds()
    for (const [name, account] of this.#accounts) copy.#accounts.set(name, { ...account })
    copy.#turns = this.#turns
    return copy
  }

  /** A name that did not wait begins to, after those of equal claim. */
  joins(name: string): void {
    const account = this.#accounts.get(name)
    if (account === undefined) this.#accounts.set(name, { balance: 0, turn: (this.#turns += 1) })
    else account.turn = this.#turns += 1
  }

  /** Nothing of a name waits any more: it keeps its debts and loses its credit. */
  leaves(name: string): void {
    const account = this.#accounts.get(name)
    if (account === undefined) return
    account.balance = Math.min(0, account.balance)
    if (account.balance === 0) this.#accounts.delete(name)
  }

  /** Which of those that wait is served next. All must have joined. */
  next(heads: Iterable<Head>): Head | undefined {
    let best: Head | undefined
    let fewest = Infinity
    let turn = Infinity
    for (const head of heads) {
      const account = this.#accounts.get(head.name)!
      const rounds = roundsFor(head, account)
      if (rounds > fewest || (rounds === fewest && account.turn > turn)) continue
      best = head
      fewest = rounds
      turn = account.turn
    }
    return best
  }

  /**
   * Serves one of those that wait, not always the `next` one: that may not be possible now. Those passed over so keep
   * no more credit than for one job.
   *
   * @param heads all that wait, with the one that is served
   */
  serve(served: Head, heads: Iterable<Head>): void {
    const account = this.#accounts.get(served.name)!
    const rounds = roundsFor(served, account)
    for (const { name, weight, cost } of heads) {
      const each = this.#accounts.get(name)!
      each.balance = Math.max(each.balance, Math.min(each.balance + rounds * weight, cost))
    }
    // The sum of many credits is not exact: without this, a tiny rest would decide later ties.
    account.balance = rounds > 0 ? 0 : account.balance - served.cost
    account.turn = this.#turns += 1
  }

  /**
   * Corrects what a name paid once the true cost is known.
   *
   * @param by what it paid too much; negative if too little
   * @param most credit that it may have afterwards: the cost of its next job, or 0 if none waits
   */
  correct(name: string, by: number, most: number): void {
    if (by === 0) return
    let account = this.#accounts.get(name)
    if (account === undefined) {
      if (by > 0) return
      account = { balance: 0, turn: (this.#turns += 1) }
      this.#accounts.set(name, account)
    }
    account.balance = by < 0 ? account.balance + by : Math.max(account.balance, Math.min(account.balance + by, most))
    if (most === 0) this.leaves(name)
  }
}

function roundsFor({ weight, cost }: Head, { balance }: Account): number {
  return Math.max(0, (cost - balance) / weight)
}
