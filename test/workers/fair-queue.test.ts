import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Priority } from '../../src/priority.js'
import { FairQueue, type Share } from '../../src/workers/fair-queue.js'

interface Job {
  readonly id: number
  readonly share: Share
  readonly cost: number
  readonly submittedAt: number
}

const WEIGHTS: Readonly<Record<string, number>> = { a: 1, b: 1, c: 3, d: 0.25 }
const KEYS = Object.keys(WEIGHTS)
const AGEING = 1000

const cost = fc.double({ min: 0.01, max: 50, noNaN: true })
const share = (priority: fc.Arbitrary<Priority>) =>
  fc.record({ key: fc.constantFrom(...KEYS), priority, cost }).map(({ key, priority, cost }) => ({
    share: { key, priority, weight: WEIGHTS[key]! },
    cost
  }))
const arrival = (priority: fc.Arbitrary<Priority>) =>
  share(priority).map((job) => ({ what: 'push' as const, ...job, ms: 0 }))
const step = fc.constant({ what: 'take' as const })
const wait = fc.nat({ max: 700 }).map((ms) => ({ what: 'wait' as const, ms }))
const cancel = fc.nat().map((which) => ({ what: 'cancel' as const, which }))

type Command =
  | { what: 'push'; share: Share; cost: number }
  | { what: 'take' }
  | { what: 'wait'; ms: number }
  | { what: 'cancel'; which: number }

const ANY = fc.constantFrom<Priority>('interactive', 'batch')
const commands = (priority: fc.Arbitrary<Priority>, ...more: fc.Arbitrary<Command>[]) =>
  fc.array(fc.oneof<fc.Arbitrary<Command>[]>(arrival(priority), step, ...more), { maxLength: 120 })

/** Applies the commands and then takes what is left; calls `took` with each job and what waited with it. */
function run(list: readonly Command[], took: (job: Job, waiting: readonly Job[], now: number) => void): Job[] {
  const queue = new FairQueue<Job>(AGEING)
  const taken: Job[] = []
  let now = 0
  let id = 0
  const take = () => {
    const [next] = queue.order(now)
    if (next === undefined) {
      expect(queue.length).toBe(0)
      return false
    }
    took(next, queue.all, now)
    queue.take(next, now)
    taken.push(next)
    return true
  }
  for (const command of list) {
    if (command.what === 'push') queue.push({ ...command, id: (id += 1), submittedAt: now })
    else if (command.what === 'wait') now += command.ms
    else if (command.what === 'take') take()
    else if (queue.length > 0) expect(queue.remove(queue.all[command.which % queue.length]!)).toBe(true)
  }
  while (take());
  return taken
}

describe('the fair queue', () => {
  it('serves keys that wait together within the dearest job of each, for any order of arrival', () => {
    fc.assert(
      fc.property(commands(fc.constant<Priority>('interactive'), cancel), (list) => {
        /** By pair of keys: what each got, by its weight, since both wait. */
        const since = new Map<string, [number, number]>()
        const dearest = new Map<string, number>()
        run(list, (job, waiting) => {
          const keys = new Set(waiting.map(({ share }) => share.key))
          for (const { share, cost } of waiting) dearest.set(share.key, Math.max(dearest.get(share.key) ?? 0, cost))
          for (const [index, one] of KEYS.entries())
            for (const other of KEYS.slice(index + 1)) {
              const pair = `${one},${other}`
              if (!keys.has(one) || !keys.has(other)) {
                since.delete(pair)
                continue
              }
              const got = since.get(pair) ?? [0, 0]
              if (job.share.key === one) got[0] += job.cost / WEIGHTS[one]!
              if (job.share.key === other) got[1] += job.cost / WEIGHTS[other]!
              since.set(pair, got)
              const bound = dearest.get(one)! / WEIGHTS[one]! + dearest.get(other)! / WEIGHTS[other]!
              expect(Math.abs(got[0] - got[1])).toBeLessThanOrEqual(bound * (1 + 1e-9))
            }
        })
      }),
      { numRuns: 500 }
    )
  })

  it('takes every job once, in order of arrival within a key and class, and is never idle', () => {
    fc.assert(
      fc.property(commands(ANY, wait), (list) => {
        const taken = run(list, () => undefined)
        expect(taken.map(({ id }) => id).toSorted((a, b) => a - b)).toEqual(
          list.filter(({ what }) => what === 'push').map((_, index) => index + 1)
        )
        for (const key of KEYS)
          for (const priority of ['interactive', 'batch']) {
            const ids = taken.filter(({ share }) => share.key === key && share.priority === priority)
            expect(ids.map(({ id }) => id)).toEqual(ids.map(({ id }) => id).toSorted((a, b) => a - b))
          }
      })
    )
  })

  it('takes batch jobs after interactive ones until the oldest has aged', () => {
    fc.assert(
      fc.property(commands(ANY, wait), (list) => {
        run(list, ({ share }, waiting, now) => {
          const interactive = waiting.some(({ share: { priority } }) => priority === 'interactive')
          const ages = waiting.filter((job) => job.share.priority === 'batch').map((job) => now - job.submittedAt)
          if (interactive && Math.max(0, ...ages) < AGEING) expect(share.priority).toBe('interactive')
        })
      })
    )
  })

  it('gives aged batch jobs one part in four of the chips, however many interactive ones come', () => {
    fc.assert(
      fc.property(
        fc.array(cost, { minLength: 20, maxLength: 40 }),
        fc.array(cost, { minLength: 5, maxLength: 15 }),
        (fast, slow) => {
          const got = { interactive: 0, batch: 0 }
          const most = { interactive: Math.max(...fast), batch: Math.max(...slow) }
          const jobs = (costs: readonly number[], priority: Priority): Command[] =>
            costs.map((each) => ({ what: 'push', share: { key: 'a', weight: 1, priority }, cost: each }))
          const list = [...jobs(slow, 'batch'), { what: 'wait' as const, ms: AGEING }, ...jobs(fast, 'interactive')]
          run(list, (job, waiting) => {
            if (new Set(waiting.map(({ share: { priority } }) => priority)).size < 2) return
            got[job.share.priority] += job.cost
            expect(Math.abs(got.interactive / 3 - got.batch)).toBeLessThanOrEqual(
              most.interactive / 3 + most.batch + 1e-6
            )
          })
        }
      )
    )
  })

  it('orders the queue as it is taken, also a job that has not come yet', () => {
    fc.assert(
      fc.property(fc.array(arrival(ANY), { minLength: 1, maxLength: 40 }), (list) => {
        const jobs = list.map((each, id): Job => ({ ...each, id, submittedAt: 0 }))
        const queue = new FairQueue<Job>(AGEING)
        for (const job of jobs.slice(0, -1)) queue.push(job)
        const forecast = queue.order(0, jobs.at(-1))
        queue.push(jobs.at(-1)!)
        expect(queue.order(0)).toEqual(forecast)
        for (const job of forecast) {
          expect(queue.order(0)[0]).toBe(job)
          queue.take(job, 0)
        }
        expect(queue.length).toBe(0)
      })
    )
  })

  const job = (id: number, key: string, cost = 1, priority: Priority = 'interactive'): Job => ({
    id,
    share: { key, weight: 1, priority },
    cost,
    submittedAt: 0
  })
  const ids = (queue: FairQueue<Job>) => queue.order(0).map(({ id }) => id)

  it('serves one small request before the rest of forty', () => {
    const queue = new FairQueue<Job>(AGEING)
    for (let id = 1; id <= 40; id += 1) queue.push(job(id, 'a', 3))
    queue.push(job(41, 'b', 0.9))
    expect(ids(queue)[0]).toBe(41)
  })

  it('puts jobs that a worker gave back before all others, in their order, without another charge', () => {
    const queue = new FairQueue<Job>(AGEING)
    const first = [job(1, 'a'), job(2, 'a')]
    for (const each of [...first, job(3, 'a'), job(4, 'b')]) queue.push(each)
    for (const each of first) queue.take(each, 0)
    queue.giveBack(first)
    expect(ids(queue)).toEqual([1, 2, 4, 3])
    for (const each of first) queue.take(each, 0)
    expect(ids(queue)).toEqual([4, 3])
  })

  it('keeps no credit for a key that could not be served, beyond one job', () => {
    const queue = new FairQueue<Job>(AGEING)
    const jobs = Array.from({ length: 30 }, (_, id) => job(id, 'a'))
    const blocked = [job(100, 'b'), job(101, 'b'), job(102, 'b')]
    for (const each of [...jobs, ...blocked]) queue.push(each)
    for (const each of jobs.slice(0, 20)) queue.take(each, 0)
    expect(ids(queue).slice(0, 4)).toEqual([100, 20, 101, 21])
  })

  it('corrects what a key paid once the true cost is known', () => {
    const queue = new FairQueue<Job>(AGEING)
    const jobs = Array.from({ length: 6 }, (_, id) => job(id, id < 3 ? 'a' : 'b'))
    for (const each of jobs) queue.push(each)
    queue.take(jobs[0]!, 0)
    queue.settle(jobs[0]!, 3)
    // a paid for one and got three: b gets two more before a.
    expect(ids(queue)).toEqual([3, 4, 5, 1, 2])
  })
})
