import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Claim, JobBounds, JobFiles, JobName, JobStore, NewJob } from '../../src/jobs/store.js'
import type { Busy, Telling, Webhook } from '../../src/jobs/webhooks.js'
import { BATCH_WEIGHT } from '../../src/jobs/store.js'
import { until } from '../support/wait.js'

/** Opens a fresh store. It is closed after the test. */
export type OpenStore = (bounds?: Partial<JobBounds>) => Promise<JobStore>

export const BOUNDS: JobBounds = { jobs: 100, bytes: 2 ** 20, keep: 60_000, lease: 60_000 }

const OUTCOMES = { crashed: '{"crashed":1}', expired: '{"expired":1}' }
const name = (id: string, scope = ''): JobName => ({ scope, id })

export function job(id: string, changes: Partial<NewJob> & { scope?: string } = {}): NewJob {
  const { scope = '', ...rest } = changes
  return {
    name: name(id, scope),
    fingerprint: 'f',
    model: '',
    batch: false,
    weight: 1,
    cost: 1,
    reserve: 1000,
    timeout: 60_000,
    body: `{"id":"${id}"}`,
    about: '{"seed":1}',
    pictures: [],
    webhook: undefined,
    ...rest
  }
}

async function claimed(store: JobStore): Promise<Claim> {
  const claim = await store.claim('me', [''], [])
  expect(claim).toBeDefined()
  return claim!
}

async function ids(store: JobStore, count: number, models = [''], busy: string[] = []): Promise<string[]> {
  const all: string[] = []
  for (let index = 0; index < count; index++) {
    const claim = await store.claim('me', models, busy)
    if (claim === undefined) break
    all.push(claim.name.id)
  }
  return all
}

const LEASE = 60_000
const NOBODY: Busy = { scopes: [], hosts: [] }
let tellings = 0

export const hook = (id: string, host = 'a.example'): Webhook => ({
  id: `msg-${id}`,
  url: `https://${host}/x?ü="`,
  host
})
export const tell = (store: JobStore, lease = LEASE, busy = NOBODY): Promise<Telling | undefined> =>
  store.webhooks.claim(`t${(tellings += 1)}`, lease, busy)

/** Files that are left over there. */
export const leftAt = async (store: JobStore, at: string) => (await store.leftOver(at)).files

/** What every job store does. */
export function contract(open: OpenStore): void {
  describe('a job', () => {
    it('is submitted once under its name, and seen by its own scope only', async () => {
      const store = await open()
      const first = await store.submit(job('a'))
      expect(first).toMatchObject({ fresh: true, state: { status: 'queued', crashes: 0, about: '{"seed":1}' } })
      const again = await store.submit(job('a', { fingerprint: 'other', body: 'other' }))
      expect(again).toEqual({ fresh: false, state: first.state })
      expect((await store.submit(job('a', { scope: 'b' }))).fresh).toBe(true)
      expect(await store.find(name('a'))).toEqual(first.state)
      expect(await store.find(name('a', 'c'))).toBeUndefined()
      expect(await ids(store, 3)).toHaveLength(2)
    })

    it('is submitted once by many at once', async () => {
      const store = await open()
      const all = await Promise.all(Array.from({ length: 20 }, () => store.submit(job('a'))))
      expect(all.filter(({ fresh }) => fresh)).toHaveLength(1)
    })

    it('brings its body and its pictures to whoever claims it', async () => {
      const store = await open()
      const file = Buffer.from([0, 255, 10, 13, 128])
      await store.submit(
        job('a', {
          body: 'ü\n"',
          pictures: [
            { field: 'controls[0].image', bytes: 5, read: async () => file },
            { field: 'image', bytes: 1, read: async () => Buffer.from([7]) }
          ]
        })
      )
      const claim = await claimed(store)
      expect(claim).toMatchObject({ name: name('a'), attempt: 1, body: 'ü\n"' })
      expect(claim.remaining).toBeGreaterThan(50_000)
      expect(claim.pictures.map(({ field, bytes }) => [field, bytes])).toEqual([
        ['controls[0].image', 5],
        ['image', 1]
      ])
      expect(await claim.pictures[0]!.read()).toEqual(file)
      expect(await store.find(name('a'))).toMatchObject({ status: 'running', startedAt: expect.any(Number) as number })
    })

    it('ends once, and keeps its images', async () => {
      const store = await open()
      await store.submit(job('a'))
      const claim = await claimed(store)
      const image = Buffer.from([1, 0, 255])
      await store.images.save(claim, 0, image)
      await store.images.save(claim, 1, Buffer.from('x'))
      await store.images.save(claim, 1, Buffer.from('x'))
      expect(await store.end(claim, 'succeeded', '{"made":1}')).toBe(true)
      // Whoever did not get the answer asks again.
      expect(await store.end(claim, 'succeeded', '{"made":1}')).toBe(true)
      expect(await store.end(claim, 'failed', '{"error":1}')).toBe(false)
      expect(await store.cancel(name('a'), 'c')).toMatchObject({ status: 'succeeded', outcome: '{"made":1}' })
      expect(await store.images.read(name('a'), 0)).toEqual(image)
      expect(await store.images.read(name('a'), 2)).toBeUndefined()
      expect(await store.renew([claim])).toEqual([claim])
      expect(await store.claim('me', [''], [])).toBeUndefined()
    })

    it('is cancelled while it waits, and while it is made', async () => {
      const store = await open()
      for (const id of ['a', 'b', 'c']) await store.submit(job(id))
      expect(await store.cancel(name('b'), 'c')).toMatchObject({ status: 'cancelled', outcome: 'c' })
      const claim = await claimed(store)
      await store.cancel(claim.name, 'c')
      await store.images.save(claim, 0, Buffer.from('late'))
      expect(await store.images.read(claim.name, 0)).toBeUndefined()
      expect(await store.renew([claim])).toEqual([claim])
      expect(await store.end(claim, 'succeeded', 'late')).toBe(false)
      expect(await store.find(claim.name)).toMatchObject({ status: 'cancelled' })
      expect(await ids(store, 5)).toEqual(['c'])
      expect(await store.cancel(name('none'), 'c')).toBeUndefined()
    })

    it('is forgotten when it has ended, not before', async () => {
      const store = await open()
      await store.submit(job('a'))
      expect(await store.remove(name('a'))).toBe(false)
      const claim = await claimed(store)
      await store.images.save(claim, 0, Buffer.from('x'))
      expect(await store.remove(name('a'))).toBe(false)
      await store.end(claim, 'succeeded', '{}')
      expect(await store.remove(name('a'))).toBe(true)
      expect(await store.remove(name('a'))).toBe(false)
      expect([await store.find(name('a')), await store.images.read(name('a'), 0)]).toEqual([undefined, undefined])
      await store.tend(OUTCOMES)
      expect(store.counts).toEqual({ queued: 0, running: 0, ended: 0, bytes: 0 })
      expect((await store.submit(job('a'))).fresh).toBe(true)
    })

    it('goes back to the front, without blame, and the old claim counts no more', async () => {
      const store = await open()
      for (const id of ['a', 'b']) await store.submit(job(id))
      const old = await claimed(store)
      await store.giveBack(old, false)
      const claim = await claimed(store)
      expect(claim).toMatchObject({ name: name('a'), attempt: 2 })
      await store.progress(old, 'old')
      await store.giveBack(old, false)
      expect(await store.end(old, 'failed', 'x')).toBe(false)
      expect(await store.renew([old, claim])).toEqual([old])
      expect(await store.find(name('a'))).toMatchObject({ status: 'running', crashes: 0, progress: undefined })
    })

    it('tells its changes, each with a higher revision', async () => {
      const store = await open()
      const told: string[] = []
      const stop = store.onChange((changed) => told.push(changed?.id ?? '*'))
      const revisions = [(await store.submit(job('a'))).state.revision]
      const look = async () => revisions.push((await store.find(name('a')))!.revision)
      const claim = await claimed(store)
      await look()
      await store.progress(claim, '{"step":1}')
      await look()
      expect(await store.find(name('a'))).toMatchObject({ progress: '{"step":1}' })
      await store.end(claim, 'succeeded', '{}')
      await look()
      expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b))
      await until('all changes are told', () => told.filter((id) => id === 'a').length >= 4)
      stop()
    })
  })

  describe('a gateway that is gone', () => {
    it('loses its jobs to others once; a second loss is the end', async () => {
      const store = await open({ lease: 300 })
      await store.submit(job('a'))
      const first = await claimed(store)
      const again = async () => {
        let claim: Claim | undefined
        await until('the job can be claimed again', async () => {
          await store.tend(OUTCOMES)
          claim = await store.claim('other', [''], [])
          return claim !== undefined
        })
        return claim!
      }
      const second = await again()
      expect(await store.renew([first])).toEqual([first])
      expect(await store.find(name('a'))).toMatchObject({ crashes: 1, status: 'running' })
      await until('the job has ended', async () => {
        await store.tend(OUTCOMES)
        return (await store.find(name('a')))!.status === 'failed'
      })
      expect(await store.find(name('a'))).toMatchObject({ crashes: 2, outcome: OUTCOMES.crashed })
      expect(await store.end(second, 'succeeded', '{}')).toBe(false)
    })

    it('is not one that renews', async () => {
      const store = await open({ lease: 2000 })
      await store.submit(job('a'))
      const claim = await claimed(store)
      const end = performance.now() + 3000
      while (performance.now() < end) {
        expect(await store.renew([claim])).toEqual([])
        await store.tend(OUTCOMES)
      }
      expect(await store.find(name('a'))).toMatchObject({ status: 'running', crashes: 0 })
    })
  })

  describe('files outside the store', () => {
    const files = (folder: string, at = 'here'): JobFiles => ({ at, folder: `~/${folder}`, files: ['0.png', '1.png'] })
    const kept = async (store: JobStore, id: string, place = files(id)) => {
      await store.submit(job(id))
      const claim = await claimed(store)
      expect(await store.keepIn(claim, place)).toBe(true)
      return claim
    }

    it('are left over when their job is forgotten, not before, and are given to one gateway at a time', async () => {
      const store = await open()
      await store.end(await kept(store, 'a'), 'succeeded', '{}')
      expect(await leftAt(store, 'here')).toEqual([])
      await store.remove(name('a'))
      expect(await leftAt(store, 'elsewhere')).toEqual([])
      const both = await Promise.all([leftAt(store, 'here'), leftAt(store, 'here')])
      expect(both.flat()).toEqual([files('a')])
      await store.deleted(files('a'))
      expect(await leftAt(store, 'here')).toEqual([])
    })

    it('are given up beyond as many as the store may have jobs, the oldest first, and that is said once', async () => {
      const store = await open({ jobs: 3 })
      for (const id of ['a', 'b', 'c', 'd', 'e']) {
        await store.end(await kept(store, id), 'succeeded', '{}')
        await store.remove(name(id))
      }
      expect(await store.leftOver('here')).toEqual({ files: ['c', 'd', 'e'].map((id) => files(id)), givenUp: 2 })
      expect(await store.leftOver('here')).toEqual({ files: [], givenUp: 0 })
    })

    it('are left over when their job has been kept for its time', async () => {
      const store = await open({ keep: 50 })
      await store.end(await kept(store, 'a'), 'succeeded', '{}')
      let left: readonly JobFiles[] = []
      await until('they are left over', async () => {
        await store.tend(OUTCOMES)
        left = await leftAt(store, 'here')
        return left.length > 0
      })
      expect(left).toEqual([files('a')])
    })

    it('stay while their job is to be made again, whoever leaves it', async () => {
      const store = await open()
      const claim = await kept(store, 'a')
      await store.giveBack(claim, false)
      expect(await store.keepIn(claim, files('a'))).toBe(false)
      await store.leave(claim, files('a'))
      expect(await leftAt(store, 'here')).toEqual([])
      const again = await claimed(store)
      expect(await store.keepIn(again, files('a'))).toBe(true)
      await store.end(again, 'succeeded', '{}')
      await store.leave(claim, files('a'))
      expect(await leftAt(store, 'here')).toEqual([])
    })

    it('are left over when their job ends otherwise: as soon as who made it leaves it', async () => {
      const store = await open()
      const claim = await kept(store, 'a')
      await store.cancel(name('a'), '{}')
      // A file may still be written.
      expect(await leftAt(store, 'here')).toEqual([])
      await store.leave(claim, files('a'))
      expect(await leftAt(store, 'here')).toEqual([files('a')])
      // Forgotten by then, and another job of its name came.
      const late = await kept(store, 'b')
      await store.cancel(name('b'), '{}')
      await store.remove(name('b'))
      await kept(store, 'b', files('b2'))
      await store.leave(late, files('b'))
      expect(await leftAt(store, 'here')).toEqual([files('b')])
    })

    it('move with their job to a gateway that has another place', async () => {
      const store = await open()
      const claim = await kept(store, 'a')
      await store.giveBack(claim, false)
      const again = await claimed(store)
      await store.keepIn(again, files('a', 'there'))
      await store.leave(claim, files('a'))
      await store.end(again, 'succeeded', '{}')
      expect([await leftAt(store, 'here'), await leftAt(store, 'there')]).toEqual([[files('a')], []])
      await store.remove(name('a'))
      expect(await leftAt(store, 'there')).toEqual([files('a', 'there')])
    })
  })

  describe('time', () => {
    it('ends jobs at their deadline, waiting or running', async () => {
      const store = await open()
      for (const id of ['a', 'b']) await store.submit(job(id, { timeout: 50 }))
      const claim = await claimed(store)
      await until('both have expired', async () => {
        await store.tend(OUTCOMES)
        return store.counts.ended === 2
      })
      for (const id of ['a', 'b'])
        expect(await store.find(name(id))).toMatchObject({ status: 'expired', outcome: OUTCOMES.expired })
      expect(await store.end(claim, 'succeeded', '{}')).toBe(false)
      expect(await store.claim('me', [''], [])).toBeUndefined()
    })

    it('forgets ended jobs after they were kept', async () => {
      const store = await open({ keep: 50 })
      await store.submit(job('a'))
      await store.submit(job('b'))
      await store.end(await claimed(store), 'succeeded', '{}')
      await until('it is forgotten', async () => {
        await store.tend(OUTCOMES)
        return (await store.find(name('a'))) === undefined
      })
      expect(store.counts).toMatchObject({ queued: 1, running: 0, ended: 0 })
    })
  })

  describe('bounds', () => {
    it('refuses more jobs than fit, ended ones included, until one is forgotten', async () => {
      const store = await open({ jobs: 2 })
      await store.submit(job('a'))
      await store.submit(job('b'))
      await expect(store.submit(job('c'))).rejects.toMatchObject({ code: 'JOBS_FULL', retryAfter: expect.any(Number) })
      // A known one is no further one.
      expect((await store.submit(job('a'))).fresh).toBe(false)
      await store.cancel(name('a'), '{}')
      await expect(store.submit(job('c'))).rejects.toMatchObject({ code: 'JOBS_FULL' })
      await store.remove(name('a'))
      expect((await store.submit(job('c'))).fresh).toBe(true)
    })

    it('lets one key have half', async () => {
      const store = await open({ jobs: 4 })
      for (const id of ['a', 'b']) await store.submit(job(id, { scope: 'k' }))
      await expect(store.submit(job('c', { scope: 'k' }))).rejects.toMatchObject({ code: 'JOBS_FULL' })
      expect((await store.submit(job('c', { scope: 'l' }))).fresh).toBe(true)
      await store.cancel(name('a', 'k'), '{}')
      await store.remove(name('a', 'k'))
      expect((await store.submit(job('c', { scope: 'k' }))).fresh).toBe(true)
    })

    it('counts bodies and pictures, refuses what never fits, and waits with what does not fit now', async () => {
      const store = await open({ bytes: 20_000 })
      await expect(store.submit(job('never', { reserve: 19_000 }))).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
      const file = Buffer.alloc(9000)
      const picture = { field: 'image', bytes: file.length, read: async () => file }
      await store.submit(job('a', { pictures: [picture], reserve: 2000 }))
      await expect(store.submit(job('b', { pictures: [picture], reserve: 2000 }))).rejects.toMatchObject({
        code: 'JOBS_FULL'
      })
      const first = await claimed(store)
      await store.submit(job('c', { reserve: 15_000 }))
      // Its images do not fit beside the first one's picture.
      expect(await store.claim('me', [''], [])).toBeUndefined()
      await store.images.save(first, 0, Buffer.alloc(100))
      await store.end(first, 'succeeded', '{}')
      expect(await ids(store, 2)).toEqual(['c'])
    })

    it('takes no job that would leave the images of none that waits any room', async () => {
      const store = await open({ bytes: 40_000 })
      const picture = { field: 'image', bytes: 6000, read: async () => Buffer.alloc(6000) }
      await store.submit(job('a', { pictures: [picture], reserve: 15_000 }))
      let taken = 1
      const more = async () => {
        for (;;) {
          await store.submit(job(`more-${taken}`, { pictures: [picture], reserve: 10 }))
          taken += 1
        }
      }
      await expect(more()).rejects.toMatchObject({ code: 'JOBS_FULL' })
      expect(taken).toBeGreaterThan(1)
      const large = { kind: 'file' as const, scope: '', id: 'large' }
      await expect(
        store.records.create({ name: large, doc: 'x'.repeat(9000), ttl: 60_000, as: 'shown' })
      ).rejects.toMatchObject({ code: 'JOBS_FULL' })
      // Each can be begun in its turn.
      await store.giveBack(await claimed(store), false)
      for (let left = taken; left > 0; left -= 1) await store.end(await claimed(store), 'failed', '{}')
      expect(store.counts).toMatchObject({ queued: 0, running: 0 })
    })

    it('has no bytes left when all jobs are gone, whatever happened to them', async () => {
      const step = fc.record({
        what: fc.constantFrom(
          'submit',
          'claim',
          'end',
          'fail',
          'back',
          'cancel',
          'remove',
          'image',
          'half',
          'progress',
          'files',
          'tell',
          'told',
          'again'
        ),
        which: fc.integer({ min: 0, max: 5 }),
        scope: fc.constantFrom('', 'k')
      })
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
          const store = await open({ jobs: 6 })
          const claims: Claim[] = []
          const tellings: Telling[] = []
          for (const { what, which, scope } of steps) {
            const claim = claims[which % Math.max(1, claims.length)]
            const telling = tellings[which % Math.max(1, tellings.length)]
            if (what === 'submit')
              await store
                .submit(job(`${which}`, { scope, webhook: which % 2 ? hook(`${which}`, `${which % 3}`) : undefined }))
                .catch(() => undefined)
            else if (what === 'tell') tellings.push(...[await tell(store)].flatMap((one) => one ?? []))
            else if (what === 'told' || what === 'again') {
              if (telling !== undefined) await store.webhooks.settle(telling, what === 'told' ? undefined : 0, which)
            } else if (what === 'claim') claims.push(...[await store.claim('me', [''], [])].flatMap((one) => one ?? []))
            else if (what === 'cancel') await store.cancel(name(`${which}`, scope), '{}')
            else if (what === 'remove') await store.remove(name(`${which}`, scope))
            else if (claim === undefined) continue
            else if (what === 'end') await store.end(claim, 'succeeded', '{"made":1}')
            else if (what === 'fail') await store.end(claim, 'failed', '{}')
            else if (what === 'back') await store.giveBack(claim, which % 2 === 0)
            else if (what === 'half')
              await store.halves?.save(claim, { about: '{}', bytes: Buffer.alloc(900 * which) }, which < 2)
            else if (what === 'image') await store.images.save(claim, which, Buffer.alloc(100 * which))
            else if (what === 'files') await store.keepIn(claim, { at: 'here', folder: `${which}`, files: ['0.png'] })
            else await store.progress(claim, '{}')
            await store.tend(OUTCOMES)
            const { queued, running, ended, bytes } = store.counts
            expect(queued + running + ended).toBeLessThanOrEqual(6)
            expect(bytes > 0).toBe(queued + running + ended > 0)
            expect(store.webhooks.waiting).toBeLessThanOrEqual(ended)
          }
          for (const scope of ['', 'k'])
            for (let which = 0; which < 6; which++) {
              await store.cancel(name(`${which}`, scope), '{}')
              await store.remove(name(`${which}`, scope))
            }
          await store.tend(OUTCOMES)
          expect(store.counts).toEqual({ queued: 0, running: 0, ended: 0, bytes: 0 })
          expect([await tell(store), store.webhooks.waiting]).toEqual([undefined, 0])
          expect(await store.claim('me', [''], [])).toBeUndefined()
          await store.close()
        }),
        { numRuns: 30 }
      )
    })
  })

  describe('the end of a job with a webhook', () => {
    const submitted = (store: JobStore, id: string, { scope = '', host = 'a.example', timeout = 60_000 } = {}) =>
      store.submit(job(id, { scope, timeout, webhook: hook(id, host) }))
    const told = (telling: Telling | undefined) => telling?.kind === 'job' && [telling.name.id, telling.state.status]

    it.each<[string, (store: JobStore, claim: Claim) => Promise<unknown>, string, string]>([
      ['that is made', (store, claim) => store.end(claim, 'succeeded', '{"made":1}'), 'succeeded', '{"made":1}'],
      ['that fails', (store, claim) => store.end(claim, 'failed', 'f'), 'failed', 'f'],
      ['that is cancelled', (store, claim) => store.cancel(claim.name, 'c'), 'cancelled', 'c']
    ])('%s is to be told from then on', async (_, end, status, outcome) => {
      const store = await open()
      await submitted(store, 'a')
      const claim = await claimed(store)
      expect(await tell(store)).toBeUndefined()
      await end(store, claim)
      const telling = await tell(store)
      expect(telling).toMatchObject({
        kind: 'job',
        name: name('a'),
        webhook: hook('a'),
        failures: 0,
        state: { status, outcome }
      })
      expect(telling!.state).toEqual(await store.find(name('a')))
      expect(telling!.remaining).toBeGreaterThan(BOUNDS.keep / 2)
      expect(telling!.remaining).toBeLessThanOrEqual(BOUNDS.keep)
    })

    it('is to be told where no gateway set it: cancelled while it waits, expired, lost twice', async () => {
      const store = await open({ lease: 300 })
      await submitted(store, 'waits')
      await store.cancel(name('waits'), 'c')
      expect(told(await tell(store))).toEqual(['waits', 'cancelled'])
      await submitted(store, 'late', { timeout: 50 })
      await submitted(store, 'lost')
      let telling: Telling | undefined
      const next = () =>
        until('an end is to be told', async () => {
          await store.tend(OUTCOMES)
          await store.claim('dies', [''], [])
          return (telling = await tell(store)) !== undefined
        })
      await next()
      expect(told(telling)).toEqual(['late', 'expired'])
      await next()
      expect(told(telling)).toEqual(['lost', 'failed'])
    })

    it('is claimed by one of many, and by another one when the lease has ended', async () => {
      const store = await open()
      await submitted(store, 'a')
      await store.submit(job('without'))
      for (const id of ['a', 'without']) await store.cancel(name(id), 'c')
      const all = await Promise.all(Array.from({ length: 5 }, () => tell(store, 300)))
      expect(all.filter((telling) => telling !== undefined)).toHaveLength(1)
      const first = all.find((telling) => telling !== undefined)!
      let second: Telling | undefined
      await until('it is due again', async () => (second = await tell(store)) !== undefined)
      // The first one comes too late to say anything.
      await store.webhooks.settle(first, undefined, 0)
      await store.webhooks.settle(second!, 0, 3)
      expect(await tell(store)).toMatchObject({ failures: 3, webhook: hook('a') })
    })

    it('waits for its next attempt, and is gone when it is settled', async () => {
      const store = await open()
      await submitted(store, 'a')
      await store.cancel(name('a'), 'c')
      await store.tend(OUTCOMES)
      expect(store.webhooks.waiting).toBe(1)
      await store.webhooks.settle((await tell(store))!, 200, 1)
      expect(await tell(store)).toBeUndefined()
      let again: Telling | undefined
      await until('it is due', async () => (again = await tell(store)) !== undefined)
      await store.webhooks.settle(again!, undefined, 1)
      await store.tend(OUTCOMES)
      expect([await tell(store), store.webhooks.waiting]).toEqual([undefined, 0])
    })

    it('is forgotten with the job, also while it is told', async () => {
      const store = await open()
      await submitted(store, 'a')
      await store.cancel(name('a'), 'c')
      const old = (await tell(store))!
      await store.remove(name('a'))
      await store.webhooks.settle(old, 0, 1)
      await store.tend(OUTCOMES)
      expect([await tell(store), store.webhooks.waiting]).toEqual([undefined, 0])
      // Another job of that name is another one.
      await submitted(store, 'a')
      await store.cancel(name('a'), 'c')
      const fresh = (await tell(store))!
      await store.webhooks.settle(old, undefined, 0)
      await store.webhooks.settle(fresh, 0, 1)
      expect(await tell(store)).toMatchObject({ failures: 1 })
    })

    it('does not wait for busy scopes and hosts, and those wait', async () => {
      const store = await open()
      const all: [string, { scope?: string; host?: string }][] = [
        ['1', { host: 'slow' }],
        ['2', { host: 'slow' }],
        ['3', { host: 'quick' }],
        ['4', { scope: 'k', host: 'slow' }],
        ['5', { scope: 'l', host: 'other' }]
      ]
      for (const [id, where] of all) {
        await submitted(store, id, where)
        await store.cancel(name(id, where.scope), 'c')
      }
      const busy = { scopes: ['k'], hosts: [{ scope: '', host: 'slow' }] }
      const got = [await tell(store, LEASE, busy), await tell(store, LEASE, busy), await tell(store, LEASE, busy)]
      expect(got.map((telling) => telling?.name.id).sort()).toEqual(['3', '5', undefined])
      const rest = [await tell(store), await tell(store), await tell(store), await tell(store)]
      expect(rest.map((telling) => telling?.name.id).sort()).toEqual(['1', '2', '4', undefined])
    })
  })

  describe('order', () => {
    it('is that of submission for one caller, by model, and skips callers that are busy', async () => {
      const store = await open()
      for (const id of ['1', '2', '3']) await store.submit(job(id))
      await store.submit(job('m', { model: 'other' }))
      await store.submit(job('k', { scope: 'k' }))
      expect(await ids(store, 9, [''], ['k'])).toEqual(['1', '2', '3'])
      expect(await ids(store, 9, ['other'])).toEqual(['m'])
      expect(await ids(store, 9, ['', 'other'])).toEqual(['k'])
    })

    it('gives waiting callers what they cost by their weights, in any order of arrival', async () => {
      const jobs = fc.record({ caller: fc.integer({ min: 0, max: 2 }), cost: fc.integer({ min: 1, max: 9 }) })
      const WEIGHTS = [1, 2, BATCH_WEIGHT]
      await fc.assert(
        fc.asyncProperty(fc.array(jobs, { minLength: 2, maxLength: 60 }), async (all) => {
          const store = await open()
          const waiting = [0, 0, 0]
          for (const [index, { caller, cost }] of all.entries()) {
            await store.submit(
              job(`${index}`, {
                scope: `${caller}`,
                cost,
                weight: caller === 1 ? 2 : 1,
                batch: caller === 2
              })
            )
            waiting[caller]! += 1
          }
          const got = [0, 0, 0]
          const most = [0, 1, 2].map((caller) =>
            Math.max(0, ...all.filter((one) => one.caller === caller).map(({ cost }) => cost))
          )
          while (waiting.every((count) => count > 0)) {
            const claim = (await store.claim('me', [''], []))!
            const caller = Number(claim.name.scope)
            got[caller]! += all[Number(claim.name.id)]!.cost
            waiting[caller]! -= 1
            // Golestani's bound: while both wait, they differ by their dearest jobs at most.
            for (const [a, b] of [
              [0, 1],
              [0, 2],
              [1, 2]
            ] as const)
              expect(Math.abs(got[a]! / WEIGHTS[a]! - got[b]! / WEIGHTS[b]!)).toBeLessThanOrEqual(
                most[a]! / WEIGHTS[a]! + most[b]! / WEIGHTS[b]! + 1e-9
              )
          }
          await store.close()
        }),
        { numRuns: 20 }
      )
    })

    it('lets no caller that always has one job starve another', async () => {
      const store = await open()
      await store.submit(job('long', { scope: 'b', cost: 10 }))
      const order: string[] = []
      for (let index = 0; index < 15; index++) {
        await store.submit(job(`${index}`, { scope: 'a' }))
        order.push((await store.claim('me', [''], []))!.name.id)
      }
      expect(order).toContain('long')
    })
  })
}
