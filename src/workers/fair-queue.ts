import { PRIORITIES, type Priority } from '../priority.js'
import { DeficitRounds, type Head } from './deficits.js'

/** Whose a job is, and how much of the chips that one gets. */
export interface Share {
  /** The name of its access key; empty where none are required. */
  readonly key: string
  /** How many chip-seconds the key gets for each one of a key with weight 1, while both wait. */
  readonly weight: number
  readonly priority: Priority
}

export interface Waiting {
  readonly share: Share
  /** Chip-seconds that it will probably take. Positive. */
  readonly cost: number
  /** ms */
  readonly submittedAt: number
}

/** The parts of the chips that the classes get while both wait and the oldest batch job has aged. */
export const CLASS_WEIGHTS: Readonly<Record<Priority, number>> = { interactive: 3, batch: 1 }

/** The waiting jobs of one class: those of each key, first come, first served. */
class Lane<T extends Waiting> {
  readonly #lists = new Map<string, T[]>()
  readonly #rounds = new DeficitRounds()

  get empty(): boolean {
    return this.#lists.size === 0
  }

  /** By key. */
  get all(): T[] {
    return [...this.#lists.values()].flat()
  }

  /** The oldest job of each key. */
  get first(): T[] {
    return [...this.#lists.values()].map(([first]) => first!)
  }

  get next(): T {
    return this.#lists.get(this.#rounds.next(this.first.map(headOf))!.name)![0]!
  }

  /** The jobs in the order in which they would be taken. @param more one placed as if it were pushed now */
  order(more?: T): T[] {
    const lists = new Map(this.#lists)
    const rounds = this.#rounds.copy()
    if (more !== undefined) {
      const list = lists.get(more.share.key)
      if (list === undefined) rounds.joins(more.share.key)
      lists.set(more.share.key, [...(list ?? []), more])
    }
    if (lists.size <= 1) return [...lists.values()].flat()
    const heads = new Map([...lists].map(([key, list]) => [key, headOf(list[0]!)]))
    const taken = new Map<string, number>()
    const order: T[] = []
    for (let head = rounds.next(heads.values()); head !== undefined; head = rounds.next(heads.values())) {
      const { name } = head
      rounds.serve(head, heads.values())
      const place = taken.get(name) ?? 0
      const list = lists.get(name)!
      order.push(list[place]!)
      taken.set(name, place + 1)
      const following = list[place + 1]
      if (following !== undefined) heads.set(name, headOf(following))
      else heads.delete(name)
    }
    return order
  }

  push(job: T): void {
    const { key } = job.share
    const list = this.#lists.get(key)
    if (list !== undefined) list.push(job)
    else {
      this.#lists.set(key, [job])
      this.#rounds.joins(key)
    }
  }

  take(job: T): void {
    this.#rounds.serve(headOf(job), this.first.map(headOf))
    this.remove(job)
  }

  remove(job: T): boolean {
    const { key } = job.share
    const list = this.#lists.get(key)
    const place = list?.indexOf(job) ?? -1
    if (place === -1) return false
    list!.splice(place, 1)
    if (list!.length === 0) {
      this.#lists.delete(key)
      this.#rounds.leaves(key)
    }
    return true
  }

  settle({ share: { key }, cost }: T, used: number): void {
    this.#rounds.correct(key, cost - used, this.#lists.get(key)?.[0]?.cost ?? 0)
  }
}

function headOf({ share: { key, weight }, cost }: Waiting): Head {
  return { name: key, weight, cost }
}

/**
 * The jobs that wait for a worker, in fair order. Pure: no clock and no workers.
 *
 * - Keys share the chips by deficit round robin in estimated chip-seconds, each class by itself. While two keys wait,
 *   what they get by their weights differs by at most the dearest job of each, for any order of arrival.
 * - Jobs of one key and class are served in order of arrival.
 * - Batch jobs wait while interactive ones do. Once the oldest batch job has waited for `ageing` ms, the classes share
 *   the chips, 3 parts to 1, by deficit round robin too: so none waits for ever.
 * - Jobs that were with a worker before come first. They are not charged again.
 *
 * With one key and one class the order is that of arrival.
 */
export class FairQueue<T extends Waiting> {
  readonly #ageing: number
  readonly #returned: T[] = []
  readonly #lanes: Record<Priority, Lane<T>> = { interactive: new Lane(), batch: new Lane() }
  /** Used only while both classes are served. */
  #classes = classRounds()

  /** @param ageing ms after which batch jobs get their part */
  constructor(ageing: number) {
    this.#ageing = ageing
  }

  get length(): number {
    return this.all.length
  }

  /** In no useful order. */
  get all(): T[] {
    return [...this.#returned, ...PRIORITIES.flatMap((priority) => this.#lanes[priority].all)]
  }

  push(job: T): void {
    this.#lanes[job.share.priority].push(job)
  }

  /** Puts jobs back that a worker has not finished. They are taken before all others, in this order. */
  giveBack(jobs: readonly T[]): void {
    this.#returned.unshift(...jobs)
  }

  /** Removes a job that ends while it waits. @returns whether it waited */
  remove(job: T): boolean {
    const place = this.#returned.indexOf(job)
    if (place === -1) return this.#lanes[job.share.priority].remove(job)
    this.#returned.splice(place, 1)
    return true
  }

  /** Removes all jobs. */
  clear(): T[] {
    const jobs = this.all
    for (const job of jobs) this.remove(job)
    return jobs
  }

  /** Removes a job that goes to a worker, and charges its key. */
  take(job: T, now: number): void {
    if (this.#returned.includes(job)) {
      this.remove(job)
      return
    }
    const heads = this.#classHeads(now)
    const served = heads.find(({ name }) => name === job.share.priority)
    if (served === undefined || heads.length === 1) this.#classes = classRounds()
    else this.#classes.serve({ ...served, cost: job.cost }, heads)
    this.#lanes[job.share.priority].take(job)
  }

  /**
   * Corrects what a job's key paid for it.
   *
   * @param used chip-seconds that it has really taken
   */
  settle(job: T, used: number): void {
    this.#lanes[job.share.priority].settle(job, used)
  }

  /**
   * All jobs in the order in which they would be taken now.
   *
   * @param more a job that does not wait, placed as if it were pushed now
   */
  order(now: number, more?: T): T[] {
    const [fast, slow] = PRIORITIES.map((each) =>
      this.#lanes[each].order(more?.share.priority === each ? more : undefined)
    ) as [T[], T[]]
    const order = [...this.#returned]
    const classes = this.#classes.copy()
    const oldest = oldestFrom(slow)
    let [i, k] = [0, 0]
    // Both classes are served only while the oldest batch job that is left has aged.
    while (i < fast.length && k < slow.length && now - oldest[k]! >= this.#ageing) {
      const heads = [classHead('interactive', fast[i]!), classHead('batch', slow[k]!)]
      const served = classes.next(heads)!
      classes.serve(served, heads)
      order.push(served.name === 'batch' ? slow[k++]! : fast[i++]!)
    }
    return [...order, ...fast.slice(i), ...slow.slice(k)]
  }

  /** The classes that are served now, with their next jobs: both only if a batch job has aged. */
  #classHeads(now: number): Head[] {
    const waiting = PRIORITIES.filter((priority) => !this.#lanes[priority].empty)
    const aged = this.#lanes.batch.first.some(({ submittedAt }) => now - submittedAt >= this.#ageing)
    const served = waiting.length === 2 && !aged ? (['interactive'] as const) : waiting
    return served.map((name) => classHead(name, this.#lanes[name].next))
  }
}

function classHead(name: Priority, { cost }: Waiting): Head {
  return { name, weight: CLASS_WEIGHTS[name], cost }
}

/** For each place, when the oldest job from there on was submitted. */
function oldestFrom(jobs: readonly Waiting[]): number[] {
  let oldest = Infinity
  return jobs
    .toReversed()
    .map(({ submittedAt }) => (oldest = Math.min(oldest, submittedAt)))
    .toReversed()
}

function classRounds(): DeficitRounds {
  const rounds = new DeficitRounds()
  for (const priority of PRIORITIES) rounds.joins(priority)
  return rounds
}
