import { createServer as createTls } from 'node:tls'
import { type AddressInfo, connect } from 'node:net'
import { once } from 'node:events'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type Claim, DELETE_AGAIN_MS, type JobBounds, SETTLE_MS } from '../../src/jobs/store.js'
import type { Telling } from '../../src/jobs/webhooks.js'
import { ValkeyJobStore } from '../../src/jobs/valkey/store.js'
import { parseValkeyAddress } from '../../src/valkey-address.js'
import { certificate } from '../support/certificate.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'
import { BOUNDS, contract, hook, job, leftAt, tell } from './contract.js'
import { recordContract } from './record-contract.js'

const INSTALL_MS = 300_000
const OUTCOMES = { crashed: '{"crashed":1}', expired: '{"expired":1}' }

let server: ValkeyServer
beforeAll(async () => {
  server = await startValkey()
}, INSTALL_MS)
afterAll(() => server.stop())

const logs: { level: number; msg: string }[] = []

async function opened(url: string, bounds: Partial<JobBounds> = {}, replicas = 0): Promise<ValkeyJobStore> {
  const log = pino({ level: 'debug' }, { write: (line: string) => void logs.push(JSON.parse(line) as never) })
  const store = new ValkeyJobStore({
    address: parseValkeyAddress(url),
    bounds: { ...BOUNDS, ...bounds },
    replicas,
    log
  })
  onTestFinished(() => store.close())
  await until('the store answers', () => store.available)
  return store
}

/** A server of the test's own. */
async function own(...args: string[]): Promise<ValkeyServer> {
  const other = await startValkey(...args)
  onTestFinished(() => other.stop())
  return other
}

const open = async (bounds?: Partial<JobBounds>) => {
  await server.send('FLUSHALL')
  return opened(server.url, bounds)
}

describe('the store in Valkey', () => {
  contract(open)
  recordContract(open)

  it('is one store for all gateways, which tell each other', async () => {
    const [one, other] = [await open(), await opened(server.url)]
    const told: string[] = []
    other.onChange((name) => told.push(name?.id ?? '*'))
    let asked = 0
    await until('the other one listens', async () => {
      await one.submit(job('early', { scope: `${(asked += 1)}` }))
      return told.length > 0
    })
    await server.send('FLUSHALL')
    await one.submit(job('a'))
    const claims = await Promise.all([one, other].map((store) => store.claim('me', [''], [])))
    expect(claims.filter((claim) => claim !== undefined)).toHaveLength(1)
    const claim = claims.find((each) => each !== undefined)!
    await one.images.save(claim, 0, Buffer.from('x'))
    await one.end(claim, 'succeeded', '{}')
    expect(await other.images.read(claim.name, 0)).toEqual(Buffer.from('x'))
    await until('the other one was told', () => told.filter((id) => id === 'a').length >= 3)
  })

  it('leaves nothing in the server when all jobs are gone', async () => {
    const store = await open({ keep: 50 })
    const file = Buffer.alloc(3000)
    for (const id of ['a', 'b', 'c'])
      await store.submit(
        job(id, {
          scope: 'k',
          pictures: [{ field: 'image', bytes: 3000, read: async () => file }],
          webhook: { id, url: 'https://x/', host: 'x' }
        })
      )
    const claim = (await store.claim('me', [''], []))!
    await store.images.save(claim, 0, file)
    await store.end(claim, 'succeeded', '{}')
    for (const id of ['b', 'c']) await store.cancel({ scope: 'k', id }, '{}')
    const name = { kind: 'batch', scope: 'k', id: 'r' } as const
    await store.records.create({ name, doc: '{}', ttl: 60_000, as: 'open' })
    const record = (await store.records.claim([]))!
    await store.records.write(record, new Map([['0', file]]))
    await store.records.update(record, '{}', 1)
    await until('the record is gone', async () => {
      await store.records.tend()
      return store.records.counts.all === 0
    })
    await until('they are forgotten', async () => {
      await store.tend(OUTCOMES)
      return store.counts.ended === 0
    })
    expect(((await server.send('KEYS', '*')) as string[]).sort()).toEqual([
      'easel:{jobs}:bytes',
      'easel:{jobs}:grace',
      'easel:{jobs}:results',
      'easel:{jobs}:seen'
    ])
  })

  it('gives files of a job that was cancelled once they are settled, and again if they were not deleted', async () => {
    const store = await open()
    await store.submit(job('a'))
    const files = { at: 'here', folder: 'a', files: ['0.png'] }
    await store.keepIn((await store.claim('me', [''], []))!, files)
    await store.cancel({ scope: '', id: 'a' }, '{}')
    const left = 'easel:{jobs}:left:here'
    for (const pause of [SETTLE_MS, DELETE_AGAIN_MS]) {
      expect(await leftAt(store, 'here')).toEqual([])
      const [member, due] = (await server.send('ZRANGE', left, 0, -1, 'WITHSCORES')) as string[]
      const [seconds] = (await server.send('TIME')) as string[]
      expect(Math.abs(Number(due) - Number(seconds) * 1000 - pause)).toBeLessThan(5000)
      await server.send('ZADD', left, 1, member!)
      expect(await leftAt(store, 'here')).toEqual([files])
    }
    // A list that no gateway looks at goes away by itself.
    expect(await server.send('PTTL', left)).toBeGreaterThan(6 * 86_400_000)
    await store.deleted(files)
    expect(await server.send('EXISTS', left)).toBe(0)
  })

  it('warns a gateway whose images are elsewhere than those of the one before', async () => {
    await server.send('FLUSHALL')
    const warnings = async (place: string | undefined) => {
      const log = pino({ level: 'warn' }, { write: (line: string) => void own.push(line) })
      const own: string[] = []
      const store = new ValkeyJobStore({
        address: parseValkeyAddress(server.url),
        bounds: BOUNDS,
        replicas: 0,
        log,
        place
      })
      onTestFinished(() => store.close())
      await until('it was there', async () => (await server.send('GET', 'easel:{jobs}:results')) === (place ?? 'none'))
      await store.find({ scope: '', id: 'a' })
      return own.filter((line) => line.includes('other RESULTS')).length
    }
    expect([await warnings('one'), await warnings('one'), await warnings(undefined)]).toEqual([0, 0, 1])
  })

  it('tells other ends though an older gateway has forgotten a batch whose end waits', async () => {
    const other = await own()
    const store = await opened(other.url)
    for (const id of ['a', 'b']) {
      const record = { kind: 'batch', scope: '', id } as const
      await store.records.create({ name: record, doc: '{}', ttl: 60_000, as: 'open', webhook: hook(id) })
      await store.records.update((await store.records.claim([]))!, '{}', 60_000)
      // It does not know of webhooks of batches.
      if (id === 'a') await other.send('DEL', `easel:{jobs}:rec:batch//a`)
    }
    let telling: Telling | undefined
    await until('the other is told', async () => (telling = await tell(store)) !== undefined)
    expect(telling).toMatchObject({ kind: 'record', webhook: hook('b') })
    await store.webhooks.settle(telling!, undefined, 0)
    await store.tend(OUTCOMES)
    expect(store.webhooks.waiting).toBe(0)
    expect(await other.send('KEYS', 'easel:{jobs}:rec-hook*')).toEqual([])
  })

  it('survives a restart of the server, and blames no gateway for it', async () => {
    const other = await own()
    const store = await opened(other.url, { lease: 600 })
    await store.submit(job('a'))
    await store.submit(job('b'))
    const claim = (await store.claim('me', [''], []))!
    await store.tend(OUTCOMES)
    await other.kill()
    await expect(store.find(claim.name)).rejects.toMatchObject({ code: 'JOB_STORE_UNAVAILABLE', retryAfter: 5 })
    expect(store.available).toBe(false)
    // Longer than the lease.
    await new Promise((resolve) => setTimeout(resolve, 900))
    await other.start()
    await until('the store answers', () => store.available)
    await store.tend(OUTCOMES)
    expect(await store.renew([claim])).toEqual([])
    expect(await store.find(claim.name)).toMatchObject({ status: 'running', crashes: 0 })
    expect(await store.end(claim, 'succeeded', '{}')).toBe(true)
    expect((await store.claim('me', [''], []))!.name.id).toBe('b')
  })

  it('fails at once while the server is frozen, and goes on afterwards', async () => {
    const other = await own()
    const store = await opened(other.url)
    await store.submit(job('a'))
    other.freeze()
    const unavailable = { code: 'JOB_STORE_UNAVAILABLE' }
    await expect(store.find({ scope: '', id: 'a' })).rejects.toMatchObject(unavailable)
    // Nothing more is sent to it.
    const all = await Promise.allSettled(Array.from({ length: 100 }, (_, index) => store.submit(job(`${index}`))))
    for (const each of all) expect(each).toMatchObject({ status: 'rejected', reason: unavailable })
    other.thaw()
    await until('the store answers', () => store.available)
    expect(await store.find({ scope: '', id: 'a' })).toMatchObject({ status: 'queued' })
    const said = logs.filter(({ msg }) => msg.includes(`:${other.port}/`))
    expect(said.length).toBeLessThanOrEqual(4)
  })

  it('refuses jobs when the server is full, but still ends and forgets those that it has', async () => {
    const other = await own('--maxmemory', '8mb', '--maxmemory-policy', 'noeviction')
    const store = await opened(other.url, { bytes: 2 ** 30, jobs: 10_000 })
    const body = 'x'.repeat(200_000)
    let accepted = 0
    const full = await (async () => {
      for (;;) {
        try {
          await store.submit(job(`${accepted}`, { body }))
          accepted += 1
          if (accepted === 5) await store.claim('me', [''], [])
        } catch (error) {
          return error
        }
      }
    })()
    expect(full).toMatchObject({ code: 'JOBS_FULL', retryAfter: expect.any(Number) as number })
    expect(accepted).toBeGreaterThan(5)
    expect(store.available).toBe(true)
    await store.cancel({ scope: '', id: '3' }, '{}')
    await store.cancel({ scope: '', id: '4' }, '{}')
    await store.remove({ scope: '', id: '3' })
    expect(await store.find({ scope: '', id: '4' })).toMatchObject({ status: 'cancelled' })
    await until('there is room again', async () => {
      for (let index = 5; index < accepted - 1; index++) {
        await store.cancel({ scope: '', id: `${index}` }, '{}')
        await store.remove({ scope: '', id: `${index}` })
      }
      return store.submit(job('later', { body })).then(
        () => true,
        () => false
      )
    })
    expect(await store.find({ scope: '', id: '0' })).toMatchObject({ status: 'running' })
  })

  it('is refused with a server that would throw jobs away', async () => {
    const other = await own('--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru')
    const log = pino({ level: 'debug' }, { write: (line: string) => void logs.push(JSON.parse(line) as never) })
    const store = new ValkeyJobStore({ address: parseValkeyAddress(other.url), bounds: BOUNDS, replicas: 0, log })
    onTestFinished(() => store.close())
    await until('it is said', () => logs.some(({ msg }) => msg.includes('allkeys-lru')))
    await expect(store.submit(job('a'))).rejects.toMatchObject({
      code: 'JOB_STORE_UNAVAILABLE',
      message: expect.stringContaining('noeviction') as string
    })
  })

  it('goes on with a replica that takes over, and loses nothing that it has accepted', async () => {
    const primary = await own()
    const replica = await own('--replicaof', `127.0.0.1 ${primary.port}`)
    // What is in front of managed servers: one address, which leads to the primary.
    let target = primary.port
    const sockets = new Set<import('node:net').Socket>()
    const front = (await import('node:net')).createServer((socket) => {
      const to = connect(target, '127.0.0.1')
      for (const each of [socket, to]) {
        sockets.add(each)
        each.on('error', () => undefined).on('close', () => sockets.delete(each))
      }
      socket.pipe(to).pipe(socket)
      to.on('close', () => socket.destroy())
    })
    front.listen(0, '127.0.0.1')
    await once(front, 'listening')
    onTestFinished(() => {
      front.close()
      for (const socket of sockets) socket.destroy()
    })
    const url = `valkey://127.0.0.1:${(front.address() as AddressInfo).port}`
    await until('the replica follows', async () =>
      String(await replica.send('INFO', 'replication')).includes('master_link_status:up')
    )
    const store = await opened(url, {}, 1)
    for (let index = 0; index < 20; index++) await store.submit(job(`${index}`))
    const claim = (await store.claim('me', [''], []))!
    expect(await store.end(claim, 'succeeded', '{}')).toBe(true)
    await primary.kill()
    await expect(store.submit(job('lost'))).rejects.toMatchObject({ code: 'JOB_STORE_UNAVAILABLE' })
    await replica.send('REPLICAOF', 'NO', 'ONE')
    target = replica.port
    await until('the store answers', () => store.available)
    expect(await store.find(claim.name)).toMatchObject({ status: 'succeeded' })
    await store.tend(OUTCOMES)
    expect(store.counts).toMatchObject({ queued: 19, running: 0, ended: 1 })
    // Without a replica a submission is not certain, so it is not confirmed.
    await expect(store.submit(job('new'))).rejects.toMatchObject({ code: 'JOB_STORE_UNAVAILABLE' })
  })

  it('signs in over TLS, and logs no password', async () => {
    const other = await own('--requirepass', 'a-secret-of-the-store')
    const { key, cert } = await certificate()
    const front = createTls({ key, cert }, (socket) => {
      const to = connect(other.port, '127.0.0.1')
      socket.pipe(to).pipe(socket)
      for (const each of [socket, to]) each.on('error', () => undefined)
      socket.on('close', () => to.destroy())
      to.on('close', () => socket.destroy())
    })
    front.on('tlsClientError', () => undefined)
    front.listen(0, 'localhost')
    await once(front, 'listening')
    onTestFinished(() => void front.close())
    const { port } = front.address() as AddressInfo
    const log = pino({ level: 'debug' }, { write: (line: string) => void logs.push(JSON.parse(line) as never) })
    const address = parseValkeyAddress(`valkeys://:a-secret-of-the-store@localhost:${port}/2`)
    // Nobody vouches for the certificate.
    const wary = new ValkeyJobStore({ address, bounds: BOUNDS, replicas: 0, log })
    onTestFinished(() => wary.close())
    await until('it is refused', () =>
      logs.some(({ msg }) => msg.includes(`:${port}/2`) && msg.includes('certificate'))
    )
    expect(wary.available).toBe(false)
    const trusting = new ValkeyJobStore({
      address,
      bounds: BOUNDS,
      replicas: 0,
      log,
      trusted: cert.toString()
    })
    onTestFinished(() => trusting.close())
    await until('the store answers', () => trusting.available)
    expect((await trusting.submit(job('a'))).fresh).toBe(true)
    const wrong = await (async () => {
      const store = new ValkeyJobStore({
        address: parseValkeyAddress(`valkey://:wrong-secret@127.0.0.1:${other.port}`),
        bounds: BOUNDS,
        replicas: 0,
        log
      })
      onTestFinished(() => store.close())
      await until('it says so', () => logs.some(({ msg }) => msg.includes('WRONGPASS')))
      return store.submit(job('b')).catch((error: unknown) => error)
    })()
    expect(wrong).toMatchObject({ code: 'JOB_STORE_UNAVAILABLE' })
    expect(JSON.stringify(logs)).not.toMatch(/a-secret-of-the-store|wrong-secret/)
  })
})

describe('half-done images in Valkey', () => {
  const half = (text: string, about = `{"of":"${text}"}`) => ({ about, bytes: Buffer.from(text) })
  const claimed = async (store: ValkeyJobStore) => (await store.claim('me', [''], []))!
  const contents = ({ halfDone }: Claim) =>
    Promise.all(halfDone.map(async ({ about, read }) => [about, (await read())?.toString('latin1')]))
  /** What the store counts, once its counts are fresh. */
  const bytesOf = async (store: ValkeyJobStore) => {
    await store.tend(OUTCOMES)
    const all = Number(await server.send('GET', 'easel:{jobs}:bytes'))
    expect(store.counts.bytes).toBe(all)
    return all
  }

  it('go to whoever claims the job next, in their order, and count until then', async () => {
    const store = await open()
    await store.submit(job('a', { reserve: 0 }))
    const before = await bytesOf(store)
    const first = await claimed(store)
    expect(first.halfDone).toEqual([])
    const raw = Buffer.from([0, 10, 255, 13, 128])
    expect(await store.halves.save(first, { about: '{"ü":"\\n"}', bytes: raw }, true)).toBe(true)
    expect(await store.halves.save(first, half('second'), false)).toBe(true)
    const both = Buffer.byteLength('{"ü":"\\n"}') + 1 + raw.length + '{"of":"second"}'.length + 1 + 'second'.length
    expect(await bytesOf(store)).toBe(before + both)
    await store.giveBack(first, true)
    expect(await bytesOf(store)).toBe(before + both)
    const next = await claimed(store)
    expect(await contents(next)).toEqual([
      ['{"ü":"\\n"}', raw.toString('latin1')],
      ['{"of":"second"}', 'second']
    ])
    expect(await bytesOf(store)).toBe(before + both)
    // The first of the next ones takes the place of all.
    await store.halves.save(next, half('further'), true)
    await store.giveBack(next, true)
    expect(await contents(await claimed(store))).toEqual([['{"of":"further"}', 'further']])
  })

  it('are dropped when the claim ends without them, when it is lost, and at the end', async () => {
    const store = await open({ lease: 300 })
    await store.submit(job('a'))
    const kept = async () => {
      const claim = await claimed(store)
      expect(claim.halfDone).toEqual([])
      await store.halves.save(claim, half('x'), true)
      return claim
    }
    await store.giveBack(await kept(), false)
    await kept()
    await until('the claim is lost', async () => {
      await store.tend(OUTCOMES)
      return store.counts.queued === 1
    })
    const last = await kept()
    await store.giveBack(last, true)
    const read = (await claimed(store)).halfDone[0]!
    await store.cancel({ scope: '', id: 'a' }, '{}')
    expect(await read.read()).toBeUndefined()
    expect(await server.send('HGET', 'easel:{jobs}:job:/a', 'half')).toBeNull()
    expect(await server.send('KEYS', 'easel:{jobs}:in:*')).toEqual([])
  })

  it('are refused when the claim is lost', async () => {
    const store = await open()
    await store.submit(job('a'))
    const old = await claimed(store)
    await store.giveBack(old, false)
    expect(await store.halves.save(old, half('late'), true)).toBe(false)
    const next = await claimed(store)
    expect(next.halfDone).toEqual([])
    expect(await store.halves.save(old, half('late'), true)).toBe(false)
    await store.end(next, 'succeeded', '{}')
    expect(await store.halves.save(next, half('late'), true)).toBe(false)
    expect(await server.send('KEYS', 'easel:{jobs}:in:*')).toEqual([])
  })

  it('lie where the images will, are refused beyond JOB_BYTES, and never keep their own job from being made', async () => {
    const one = job('a', { scope: 'k', reserve: 4000 })
    const own = 2048 + Buffer.byteLength(one.body + one.about)
    // The job and its images fill what its key may have.
    const store = await open({ bytes: 2 * (own + 4000) })
    await store.submit(one)
    const claim = await claimed(store)
    expect(await store.halves.save(claim, { about: '{}', bytes: Buffer.alloc(3000) }, true)).toBe(true)
    expect(await bytesOf(store)).toBe(own + 4000)
    const more = store.halves.save(claim, { about: '{}', bytes: Buffer.alloc(2000) }, false)
    await expect(more).rejects.toMatchObject({ code: 'JOBS_FULL' })
    await store.giveBack(claim, true)
    expect(await bytesOf(store)).toBe(own + 3003)
    expect((await claimed(store)).halfDone).toHaveLength(1)
    expect(await bytesOf(store)).toBe(own + 4000)
  })

  it('are refused by a server that is full, which still takes the job back', async () => {
    const other = await own('--maxmemory-policy', 'noeviction')
    const store = await opened(other.url)
    await store.submit(job('a'))
    const claim = await claimed(store)
    await other.send('CONFIG', 'SET', 'maxmemory', '1')
    await expect(store.halves.save(claim, half('x'), true)).rejects.toMatchObject({ code: 'JOBS_FULL' })
    await store.giveBack(claim, false)
    await other.send('CONFIG', 'SET', 'maxmemory', '0')
    expect(await claimed(store)).toMatchObject({ attempt: 2, halfDone: [] })
  })
})
