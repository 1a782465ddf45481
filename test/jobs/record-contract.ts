import { describe, expect, it } from 'vitest'
import type { JobStore } from '../../src/jobs/store.js'
import type { Telling } from '../../src/jobs/webhooks.js'
import { MOST_OPEN, type NewRecord, type RecordKind, type RecordName } from '../../src/jobs/records.js'
import { until } from '../support/wait.js'
import { hook, job, type OpenStore, tell } from './contract.js'

const OUTCOMES = { crashed: '{}', expired: '{}' }

const name = (id: string, scope = '', kind: RecordKind = 'file'): RecordName => ({ kind, scope, id })

function record(id: string, changes: Partial<NewRecord> & { scope?: string; kind?: RecordKind } = {}): NewRecord {
  const { scope, kind, ...rest } = changes
  return { name: name(id, scope, kind), doc: '{"a":"ü"}', ttl: 60_000, as: 'shown', ...rest }
}

const open = (id: string, scope = ''): NewRecord => record(id, { scope, kind: 'batch', as: 'open' })

const parts = (all: Record<string, string | Buffer>) =>
  new Map(Object.entries(all).map(([part, value]) => [part, Buffer.from(value as string)]))

/** What every job store does with records. */
export function recordContract(openStore: OpenStore): void {
  describe('a record', () => {
    it('is created once under its name, and is seen by its own scope and as its own kind only', async () => {
      const { records } = await openStore()
      const first = await records.create(record('a'))
      expect(first).toMatchObject({ fresh: true, state: { name: name('a'), doc: '{"a":"ü"}', cancelledAt: undefined } })
      expect(first.state.expiresAt).toBe(first.state.createdAt + 60_000)
      expect(await records.create(record('a', { doc: 'other' }))).toEqual({ state: first.state, fresh: false })
      expect(await records.find(name('a'))).toEqual(first.state)
      expect([await records.find(name('a', 'k')), await records.find(name('a', '', 'batch'))]).toEqual([
        undefined,
        undefined
      ])
    })

    it('is seen by nobody until it is whole', async () => {
      const { records } = await openStore()
      await records.create(record('a', { as: 'hidden' }))
      const bytes = Buffer.from([0, 255, 10])
      expect(await records.write(name('a'), new Map([['0', bytes]]))).toBe(true)
      expect(await records.find(name('a'))).toBeUndefined()
      expect(await records.list('file', '', { limit: 9, newestFirst: true })).toEqual([])
      expect(await records.cancel(name('a'))).toBeUndefined()
      const state = await records.publish(name('a'), '{"whole":1}', 5000)
      expect(state).toMatchObject({ doc: '{"whole":1}' })
      expect(state!.expiresAt).toBe(state!.createdAt + 5000)
      expect(await records.find(name('a'))).toEqual(state)
      expect(await records.read(name('a'), '0')).toEqual(bytes)
      expect(await records.read(name('a'), '1')).toBeUndefined()
      expect(await records.publish(name('b'), '{}', 5000)).toBeUndefined()
      expect(await records.write(name('b'), parts({ 0: 'x' }))).toBe(false)
    })

    it('is listed by creation, page by page, both ways', async () => {
      const { records } = await openStore()
      for (const id of ['c', 'a', 'd', 'b']) {
        const { state } = await records.create(record(id))
        // Those of one millisecond have no order that a test could know.
        await until('the clock goes on', () => Date.now() > state.createdAt + 1)
      }
      await records.create(record('other', { scope: 'k' }))
      await records.create(record('other', { kind: 'batch' }))
      const ids = async (after: string | undefined, limit: number, newestFirst = false) =>
        (await records.list('file', '', { after, limit, newestFirst }))?.map(({ name }) => name.id)
      expect(await ids(undefined, 3)).toEqual(['c', 'a', 'd'])
      expect(await ids('d', 3)).toEqual(['b'])
      expect(await ids('b', 3)).toEqual([])
      expect(await ids(undefined, 2, true)).toEqual(['b', 'd'])
      expect(await ids('d', 9, true)).toEqual(['a', 'c'])
      expect(await ids('none', 9)).toBeUndefined()
      await records.remove(name('a'))
      expect(await ids(undefined, 9)).toEqual(['c', 'd', 'b'])
    })

    it('counts in the bounds of bytes, beside jobs, and leaves nothing when it is gone', async () => {
      const store = await openStore({ bytes: 20_000 })
      const { records } = store
      const bytes = async () => {
        await store.tend(OUTCOMES)
        return store.counts.bytes
      }
      await records.create(record('a', { doc: '' }))
      expect(await bytes()).toBe(2048)
      await records.write(name('a'), parts({ 0: 'x'.repeat(1000), 1: 'y' }))
      expect(await bytes()).toBe(2048 + 1001 + 128)
      await records.write(name('a'), parts({ 0: 'z'.repeat(400) }))
      expect(await bytes()).toBe(2048 + 401 + 128)
      await expect(records.write(name('a'), parts({ 2: 'x'.repeat(18_000) }))).rejects.toMatchObject({
        code: 'JOBS_FULL',
        message: expect.stringContaining('JOB_BYTES') as string
      })
      expect(await records.read(name('a'), '2')).toBeUndefined()
      // A key has half.
      await records.create(record('a', { scope: 'k' }))
      await expect(records.write(name('a', 'k'), parts({ 0: 'x'.repeat(9000) }))).rejects.toMatchObject({
        code: 'JOBS_FULL'
      })
      await records.write(name('a', 'k'), parts({ 0: 'x'.repeat(7000) }))
      await expect(store.submit(job('a', { scope: 'k' }))).rejects.toMatchObject({ code: 'JOBS_FULL' })
      await records.remove(name('a', 'k'))
      expect((await store.submit(job('a', { scope: 'k' }))).fresh).toBe(true)
      await store.cancel({ scope: 'k', id: 'a' }, '{}')
      await store.remove({ scope: 'k', id: 'a' })
      await records.write(name('a'), parts({ 0: 'x'.repeat(17_000) }))
      await expect(records.create(record('b'))).rejects.toMatchObject({ code: 'JOBS_FULL' })
      expect((await records.create(record('b', { always: true }))).fresh).toBe(true)
      for (const id of ['a', 'b']) expect(await records.remove(name(id))).toBe(true)
      expect(await records.remove(name('a'))).toBe(false)
      expect(await records.read(name('a'), '0')).toBeUndefined()
      expect(await bytes()).toBe(0)
    })

    it('is forgotten when it expires, hidden or not', async () => {
      const { records } = await openStore()
      await records.create(record('a', { ttl: 30 }))
      await records.create(record('b', { ttl: 30, as: 'hidden' }))
      await records.create(open('c'))
      await records.create(record('d'))
      await records.tend()
      await until('they are gone', async () => {
        await records.tend()
        return records.counts.all === 2
      })
      expect(records.counts).toEqual({ open: 1, all: 2 })
      expect([await records.find(name('a')), (await records.find(name('d')))?.doc]).toEqual([undefined, '{"a":"ü"}'])
      expect(await records.publish(name('b'), '{}', 5000)).toBeUndefined()
    })
  })

  describe('an open record', () => {
    it('is claimed by one of many at once, and written by its claim only', async () => {
      const { records } = await openStore()
      await records.create(open('a'))
      const claims = (await Promise.all([1, 2, 3, 4].map(() => records.claim([])))).filter(
        (claim) => claim !== undefined
      )
      expect(claims).toHaveLength(1)
      const [claim] = claims
      expect(claim).toMatchObject({ name: name('a', '', 'batch'), attempt: 1, state: { doc: '{"a":"ü"}' } })
      expect(await records.write(claim!, parts({ l0: 'x' }))).toBe(true)
      expect(await records.update(claim!, '{"b":1}')).toMatchObject({ doc: '{"b":1}' })
      expect(await records.remove(claim!.name)).toBe(false)
      await records.release(claim!)
      expect(await records.update(claim!, '{"late":1}')).toBeUndefined()
      expect(await records.write(claim!, parts({ l0: 'late' }))).toBe(false)
      const next = await records.claim([])
      expect(next).toMatchObject({ name: name('a', '', 'batch'), state: { doc: '{"b":1}' } })
      expect(next!.attempt).toBeGreaterThan(claim!.attempt)
      await records.release(claim!)
      expect(await records.claim([])).toBeUndefined()
      expect(await records.update(next!, '{"end":1}', 40)).toMatchObject({ doc: '{"end":1}' })
      expect(await records.update(next!, '{"late":1}')).toBeUndefined()
      expect(await records.claim([])).toBeUndefined()
      expect(await records.read(next!.name, 'l0')).toEqual(Buffer.from('x'))
      await until('it is gone', async () => {
        await records.tend()
        return (await records.find(next!.name)) === undefined
      })
      expect(records.counts).toEqual({ open: 0, all: 0 })
    })

    it('is claimed again when its gateway no longer renews it', async () => {
      const { records } = await openStore({ lease: 60 })
      await records.create(open('a'))
      const first = (await records.claim([]))!
      let second: Awaited<ReturnType<typeof records.claim>>
      await until('its lease has ended', async () => {
        second = await records.claim([])
        return second !== undefined
      })
      expect(second!.name).toEqual(first.name)
      expect(await records.update(first, '{}')).toBeUndefined()
      expect(await records.update(second!, '{}')).toBeDefined()
    })

    it('says that its owner wants its end, until it has ended', async () => {
      const { records } = await openStore()
      await records.create(open('a'))
      const claim = (await records.claim([]))!
      const first = (await records.cancel(claim.name))!
      expect(first.cancelledAt).toBeGreaterThan(0)
      expect((await records.cancel(claim.name))!.cancelledAt).toBe(first.cancelledAt)
      expect(await records.update(claim, '{}')).toMatchObject({ cancelledAt: first.cancelledAt })
      await records.create(open('b'))
      const other = (await records.claim([]))!
      await records.update(other, '{}', 60_000)
      expect((await records.cancel(other.name))!.cancelledAt).toBeUndefined()
      expect(await records.cancel(name('none', '', 'batch'))).toBeUndefined()
    })

    it('waits behind those of scopes with fewer, then by age', async () => {
      const { records } = await openStore()
      for (const [id, scope] of [
        ['a', 'x'],
        ['b', 'x'],
        ['c', 'x'],
        ['d', 'y']
      ] as const) {
        const { state } = await records.create(open(id, scope))
        await until('the clock goes on', () => Date.now() > state.createdAt + 1)
      }
      const order: string[] = []
      for (let claim = await records.claim([]); claim !== undefined; claim = await records.claim([]))
        order.push(claim.name.id)
      expect(order).toEqual(['a', 'd', 'b', 'c'])
      await records.create(open('e', 'x'))
      await records.create(open('f', 'z'))
      expect(await records.claim(['x', 'y', 'z'])).toBeUndefined()
      expect((await records.claim(['x', 'y']))!.name.id).toBe('f')
    })

    it('is one of a bounded number for each scope', async () => {
      const { records } = await openStore()
      for (let index = 0; index < MOST_OPEN; index++) await records.create(open(`${index}`, 'k'))
      await expect(records.create(open('more', 'k'))).rejects.toMatchObject({ code: 'JOBS_FULL' })
      expect((await records.create(open('0', 'k'))).fresh).toBe(false)
      expect((await records.create(open('more', 'j'))).fresh).toBe(true)
      const claim = (await records.claim([]))!
      await records.update(claim, '{}', 1000)
      expect((await records.create(open('more', 'k'))).fresh).toBe(true)
    })
  })

  describe('the end of a record with a webhook', () => {
    /** Opens a record that somebody has claimed. */
    const working = async ({ records }: JobStore, id: string, { scope = '', host = 'a.example' } = {}) => {
      await records.create({ ...open(id, scope), webhook: hook(id, host) })
      return (await records.claim([]))!
    }
    const waiting = async (store: JobStore) => {
      await store.tend(OUTCOMES)
      return store.webhooks.waiting
    }

    it('is to be told once it is written, and not before, whoever wrote it', async () => {
      const store = await openStore()
      const claim = await working(store, 'a')
      await store.records.create({ ...open('a'), webhook: hook('another') })
      await store.records.update(claim, '{"goes":"on"}')
      expect([await tell(store), await waiting(store)]).toEqual([undefined, 0])
      await store.records.update(claim, '{"end":"ü"}', 60_000)
      // Whoever wrote it is never heard of again.
      const telling = (await tell(store, 50))!
      expect(telling).toMatchObject({ kind: 'record', name: claim.name, webhook: hook('a'), failures: 0 })
      expect(telling.state).toEqual(await store.records.find(claim.name))
      expect(telling.state).toMatchObject({ doc: '{"end":"ü"}' })
      expect(telling.remaining).toBeGreaterThan(30_000)
      expect(telling.remaining).toBeLessThanOrEqual(60_000)
      expect([await tell(store), await waiting(store)]).toEqual([undefined, 1])
      let second: Telling | undefined
      await until('the lease has ended', async () => (second = await tell(store)) !== undefined)
      await store.webhooks.settle(telling, undefined, 0)
      await store.webhooks.settle(second!, 0, 2)
      expect(await tell(store)).toMatchObject({ failures: 2, webhook: hook('a') })
    })

    it('is gone when it is settled, and with its record', async () => {
      const store = await openStore()
      await store.records.update(await working(store, 'told'), '{}', 60_000)
      await store.webhooks.settle((await tell(store))!, undefined, 0)
      expect([await tell(store), await waiting(store)]).toEqual([undefined, 0])
      await store.records.update(await working(store, 'gone'), '{}', 30)
      const late = (await tell(store))!
      await until('it is forgotten', async () => (await waiting(store)) === 0)
      await store.webhooks.settle(late, 0, 1)
      expect([await tell(store), await waiting(store)]).toEqual([undefined, 0])
      await store.records.remove(name('told', '', 'batch'))
      await store.tend(OUTCOMES)
      expect(store.counts.bytes).toBe(0)
    })

    it('waits for busy scopes and hosts, beside the ends of jobs', async () => {
      const store = await openStore()
      for (const [id, where] of [
        ['1', { host: 'slow' }],
        ['2', { scope: 'k', host: 'quick' }],
        ['3', { scope: 'l', host: 'quick' }]
      ] as const)
        await store.records.update(await working(store, id, where), '{}', 60_000)
      await store.submit(job('4', { webhook: hook('4', 'quick') }))
      await store.cancel({ scope: '', id: '4' }, '{}')
      const busy = { scopes: ['k'], hosts: [{ scope: '', host: 'slow' }] }
      const got = [await tell(store, 60_000, busy), await tell(store, 60_000, busy), await tell(store, 60_000, busy)]
      expect(got.map((telling) => telling?.name.id).toSorted()).toEqual(['3', '4', undefined])
      const rest = [await tell(store), await tell(store), await tell(store)]
      expect(rest.map((telling) => telling?.name.id).toSorted()).toEqual(['1', '2', undefined])
    })

    it('takes what its address takes', async () => {
      const store = await openStore()
      const bytes = async () => {
        await store.tend(OUTCOMES)
        return store.counts.bytes
      }
      await store.records.create({ ...open('a'), doc: '' })
      const without = await bytes()
      await store.records.create({ ...open('b'), doc: '', webhook: hook('b') })
      const more = (await bytes()) - 2 * without
      expect(more).toBe(Buffer.byteLength(JSON.stringify(hook('b'))))
      for (let claim = await store.records.claim([]); claim !== undefined; claim = await store.records.claim([]))
        await store.records.update(claim, '', 60_000)
      expect(await bytes()).toBe(2 * without + more)
    })
  })

  describe('an ended job', () => {
    it('is kept for as long as was said, not shorter than others, until that is changed', async () => {
      const store = await openStore({ keep: 50 })
      const ends = async (id: string, keep?: number) => {
        await store.submit(job(id, { keep }))
        await store.cancel({ scope: '', id }, '{}')
        return (await store.find({ scope: '', id }))!
      }
      const [usual, long, short] = [await ends('usual'), await ends('long', 60_000), await ends('short', 1)]
      expect(usual.keptFrom ?? usual.endedAt).toBe(usual.endedAt)
      expect(long.keptFrom! + 50 - long.submittedAt).toBe(60_000)
      expect(short.keptFrom).toBe(short.endedAt)
      await until('the others are forgotten', async () => {
        await store.tend(OUTCOMES)
        return store.counts.ended === 1
      })
      const names = ['long', 'none'].map((id) => ({ scope: '', id }))
      await store.retain(names, Date.now() + 30_000)
      const kept = (await store.find(names[0]!))!
      expect(kept.keptFrom! + 50 - Date.now()).toBeLessThanOrEqual(30_000)
      expect(kept.keptFrom! + 50 - Date.now()).toBeGreaterThan(20_000)
      await store.retain(names, Date.now() + 20)
      await until('it is forgotten', async () => {
        await store.tend(OUTCOMES)
        return store.counts.ended === 0
      })
    })
  })
}
