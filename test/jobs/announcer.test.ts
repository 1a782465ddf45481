import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { type AnnouncerOptions, JobAnnouncer } from '../../src/jobs/announcer.js'
import { MemoryJobStore } from '../../src/jobs/memory-store.js'
import type { JobBounds, JobStore } from '../../src/jobs/store.js'
import { ValkeyJobStore } from '../../src/jobs/valkey/store.js'
import { MemoryBudget } from '../../src/memory.js'
import { parseValkeyAddress } from '../../src/valkey-address.js'
import { parseNetworks } from '../../src/webhooks/addresses.js'
import { parseSecrets } from '../../src/webhooks/secrets.js'
import { WebhookSender } from '../../src/webhooks/sender.js'
import { type Receiver, secretOf, startReceiver, status } from '../support/receiver.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'
import { BOUNDS, job } from './contract.js'

const INSTALL_MS = 300_000
const OUTCOMES = { crashed: '{}', expired: '{}' }

interface Line {
  level: number
  msg: string
  [field: string]: unknown
}

function inMemory(bounds: Partial<JobBounds> = {}): JobStore {
  const memory = new MemoryBudget(2 ** 26)
  const store = new MemoryJobStore({ bounds: { ...BOUNDS, ...bounds }, memory, makeRoom: () => true })
  onTestFinished(() => store.close())
  return store
}

/** An announcer of one gateway, and what it logs and counts. */
function announcer(store: JobStore, options: Partial<AnnouncerOptions> = {}, timeout = 5000) {
  const lines: Line[] = []
  const outcomes: string[] = []
  const it = new JobAnnouncer({
    store,
    rules: { allows: () => true, secretsOf: () => parseSecrets(secretOf(1)) },
    sender: new WebhookSender({ networks: parseNetworks('127.0.0.0/8'), version: '0', timeout }),
    bodyOf: async ({ kind, name: { id }, state }) =>
      JSON.stringify({ id, end: kind === 'job' ? state.status : state.doc }),
    log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line) as Line) }),
    observer: { announced: (outcome) => outcomes.push(outcome) },
    delays: [20, 20, 20],
    ...options
  })
  onTestFinished(() => it.close(0))
  return { it, lines, outcomes }
}

/** Ends a job that has a webhook. */
async function end(store: JobStore, id: string, { url, host }: Pick<Receiver, 'url' | 'host'>, scope = '') {
  await store.submit(job(id, { scope, webhook: { id: `msg_${id}`, url: `${url}/in?secret=s`, host } }))
  await store.cancel({ scope, id }, '{}')
}

const ids = ({ got }: Receiver) => got.map(({ headers }) => headers['webhook-id'])

/** Waits until nothing is to be told. */
const told = (store: JobStore) =>
  until('all is told', async () => {
    await store.tend(OUTCOMES)
    return store.webhooks.waiting === 0
  })

describe('an announcer', () => {
  it('tells each end once to a receiver that takes it', async () => {
    const store = inMemory()
    const receiver = await startReceiver()
    const { it, lines, outcomes } = announcer(store)
    for (const id of ['a', 'b', 'c']) await end(store, id, receiver, 'team')
    it.wake()
    await told(store)
    expect(ids(receiver).sort()).toEqual(['msg_a', 'msg_b', 'msg_c'])
    expect(receiver.got.map(({ body }) => JSON.parse(body) as object)).toContainEqual({ id: 'a', end: 'cancelled' })
    expect(outcomes).toEqual(['delivered', 'delivered', 'delivered'])
    expect(lines).toHaveLength(3)
    expect(lines[0]).toMatchObject({ key: 'team', to: receiver.url, attempts: 1, msg: 'a webhook was delivered' })
    expect(JSON.stringify(lines)).not.toContain('secret')
  })

  it('looks by itself, and sends again what failed, with the same id and body', async () => {
    const store = inMemory()
    const receiver = await startReceiver((response, nth) => status(nth < 3 ? 500 : 200)(response))
    await end(store, 'a', receiver)
    const { lines, outcomes } = announcer(store)
    await told(store)
    expect(ids(receiver)).toEqual(['msg_a', 'msg_a', 'msg_a'])
    expect(new Set(receiver.got.map(({ body }) => body)).size).toBe(1)
    expect(outcomes).toEqual(['retried', 'retried', 'delivered'])
    expect(lines.map(({ why, attempts }) => [why, attempts])).toEqual([
      ['it answered 500', 1],
      ['it answered 500', 2],
      [undefined, 3]
    ])
    expect(JSON.stringify(lines)).not.toContain('secret')
  })

  it('stops at 410, and after the last delay', async () => {
    const store = inMemory()
    const gone = await startReceiver(status(410))
    const wrong = await startReceiver(status(404))
    for (const [id, receiver] of [
      ['gone', gone],
      ['wrong', wrong]
    ] as const)
      await end(store, id, receiver)
    const { lines, outcomes } = announcer(store)
    await told(store)
    expect([gone.got.length, wrong.got.length]).toEqual([1, 4])
    expect([...outcomes].sort()).toEqual(['given_up', 'gone', 'retried', 'retried', 'retried'])
    expect(lines.at(-1)).toMatchObject({ level: 40, attempts: 4, why: 'it answered 404' })
    expect((await store.find({ scope: '', id: 'wrong' }))!.status).toBe('cancelled')
  })

  it('waits as long as a receiver asks for, and begins nothing that would come after the job', async () => {
    const store = inMemory({ keep: 5000 })
    const receiver = await startReceiver((response, nth) =>
      status(503, { 'retry-after': nth === 1 ? '1' : '5' })(response)
    )
    await end(store, 'a', receiver)
    const started = performance.now()
    const { outcomes } = announcer(store)
    await told(store)
    expect(performance.now() - started).toBeGreaterThan(1000)
    expect(outcomes).toEqual(['retried', 'given_up'])
  })

  it('does not let a slow host hold up others, nor one key take all', async () => {
    const store = inMemory()
    const held: (() => void)[] = []
    const hold: Parameters<typeof startReceiver>[0] = (response) => void held.push(() => response.end())
    const slow = await Promise.all(Array.from({ length: 6 }, () => startReceiver(hold)))
    const quick = await startReceiver()
    for (const [index, receiver] of slow.entries())
      for (let nth = 0; nth < 6; nth++) await end(store, `${index}-${nth}`, receiver, 'slow')
    await end(store, 'same-key', quick, 'slow')
    await end(store, 'other-key', quick, 'other')
    const { it } = announcer(store)
    it.wake()
    await until('the other key is told', () => quick.got.length > 0)
    await until('one key has its share', () => slow.reduce((sum, { got }) => sum + got.length, 0) === 16)
    expect(ids(quick)).toEqual(['msg_other-key'])
    for (const { got } of slow) expect(got.length).toBeLessThanOrEqual(4)
    await until('all are told', async () => {
      for (const answer of held.splice(0)) answer()
      await store.tend(OUTCOMES)
      return store.webhooks.waiting === 0
    })
    expect(quick.got).toHaveLength(2)
  })

  it('asks each time whether the host is still allowed', async () => {
    const store = inMemory()
    const receiver = await startReceiver(status(500))
    await end(store, 'a', receiver)
    const { lines, outcomes } = announcer(store, {
      rules: { allows: () => receiver.got.length < 2, secretsOf: () => parseSecrets(secretOf(1)) }
    })
    await told(store)
    expect(receiver.got).toHaveLength(2)
    expect(outcomes).toEqual(['retried', 'retried', 'retried', 'given_up'])
    expect(lines.at(-1)).toMatchObject({ why: 'its host is not allowed (any more)' })
  })

  it('tries again when the images have no URLs now', async () => {
    const store = inMemory()
    const receiver = await startReceiver()
    await end(store, 'a', receiver)
    let asked = 0
    const { lines, outcomes } = announcer(store, {
      bodyOf: async () => {
        if ((asked += 1) === 1) throw new EaselError('RESULTS_UNAVAILABLE')
        return '{}'
      }
    })
    await told(store)
    expect([outcomes, receiver.got.length]).toEqual([['retried', 'delivered'], 1])
    expect(lines[0]).toMatchObject({ why: 'there are no URLs of its images: RESULTS_UNAVAILABLE' })
  })

  it('leaves what it has begun to others when it closes', async () => {
    const store = inMemory()
    const receiver = await startReceiver((response, nth) => (nth === 1 ? undefined : response.end()))
    await end(store, 'a', receiver)
    const first = announcer(store)
    first.it.wake()
    await until('it is being sent', () => receiver.got.length === 1)
    await first.it.close(50)
    expect(first.outcomes).toEqual([])
    const { outcomes } = announcer(store)
    await told(store)
    expect([outcomes, receiver.got.length]).toEqual([['delivered'], 2])
  })
})

describe('announcers of one Valkey server', () => {
  let server: ValkeyServer
  beforeAll(async () => {
    server = await startValkey()
  }, INSTALL_MS)
  afterAll(() => server.stop())

  async function opened(by = server): Promise<JobStore> {
    const log = pino({ level: 'silent' })
    const store = new ValkeyJobStore({ address: parseValkeyAddress(by.url), bounds: BOUNDS, replicas: 0, log })
    onTestFinished(() => store.close())
    await until('the store answers', () => store.available)
    return store
  }

  it('tell each end once together, and that of a gateway that died', async () => {
    const [one, other] = [await opened(), await opened()]
    const receiver = await startReceiver()
    for (let nth = 0; nth < 40; nth++) await end(one, `${nth}`, receiver)
    // A gateway that claims one and is never heard of again.
    const dead = (await one.webhooks.claim('dead', 300, { scopes: [], hosts: [] }))!
    const both = [announcer(one), announcer(other)]
    await told(one)
    expect(ids(receiver).sort()).toEqual(Array.from({ length: 40 }, (_, nth) => `msg_${nth}`).sort())
    expect(ids(receiver)).toContain(dead.webhook.id)
    expect(both.flatMap(({ outcomes }) => outcomes)).toHaveLength(40)
  })

  it('send what is due when their server is back, and again what they could not settle', async () => {
    const own = await startValkey()
    onTestFinished(() => own.stop())
    const store = await opened(own)
    const answers: (() => void)[] = []
    const receiver = await startReceiver((response) => void answers.push(() => response.end()))
    await end(store, 'a', receiver)
    const { outcomes } = announcer(store)
    await until('it is being sent', () => receiver.got.length === 1)
    await own.kill()
    answers[0]!()
    await until('it is delivered', () => outcomes.length === 1)
    await own.start()
    await until('the store answers', () => store.available)
    // It was told what became of it, so it is not sent again.
    await told(store)
    expect(receiver.got).toHaveLength(1)
  })
})
