// @ts-check
// Durable jobs at two gateways with one Valkey server, while all of them are killed, frozen and restarted, and those that are told
// of the ends fail, hang and drop connections. `npm run chaos --
// --durable` and a test run it with different numbers.
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../../tools/ports.mjs'
import { randomNumbers } from '../../tools/random.mjs'
import { lawGap, scrape } from '../support/metrics.mjs'
import { startValkey } from '../support/valkey.mjs'
import { DurableGateway } from './durable-gateway.mjs'
import { EndsReceiver, SECRET } from './ends-receiver.mjs'
import { digestOf } from './random-requests.mjs'
import { by, wrongWith } from './told.mjs'

const GATEWAYS = 2
/** Seconds of a lease: short, so that jobs of killed gateways go on soon. */
const CLAIM_TIMEOUT_S = 3
/** Different requests, of which many jobs are made. */
const BODIES = 40
/** Hosts that are told of ends. */
const RECEIVERS = 2
/** Of the longest of them. */
const LONG_STEPS = 100
/** Shares of jobs whose client also does this. */
const REPEATS = 0.2
const REUSES = 0.05
const CANCELS = 0.05
/** A service that takes nothing, or ends nothing, for this long is broken, in ms. */
const GIVE_UP_MS = 180_000
const AGAIN_MS = 150
const KEY = 'easel:{jobs}:'
const ENDS = new Set(['succeeded', 'failed', 'cancelled', 'expired'])

/**
 * @typedef {{ seed: number, jobs: number, clients: number, stepMs: number, faults: number, results?: boolean, hangMs: number }} Plan
 *   `results`: whether images are files in a folder; `hangMs`: for how long receivers of webhooks hang
 * @typedef {{ status: string, outcome: string, revision: string }} End
 * @typedef {object} Observed
 * @property {number} jobs
 * @property {Record<string, number>} ends of the jobs, by status
 * @property {Record<string, number>} faults
 * @property {number} unavailable answers 503 and broken connections that clients repeated after
 * @property {number} madeAgain claims beyond the first of their job
 * @property {{ ends: number, messages: number, failures: Record<string, number> }} told of the ends of jobs with a webhook
 * @property {number} continued claims that went on with images which another gateway left half done
 * @property {string[]} broken what must not happen
 * @property {string[]} logged log lines that must not occur
 * @property {number} storeLines log lines about the store
 * @property {number} seconds
 */

/**
 * @param {Plan} plan
 * @returns {Promise<Observed>}
 */
export async function runDurable(plan) {
  const valkey = await startValkey()
  const folder = await mkdtemp(join(tmpdir(), 'easel-durable-results-'))
  const results = plan.results ? folder : undefined
  const receiver = new EndsReceiver(plan.seed, plan.hangMs)
  await receiver.start(RECEIVERS)
  const hooks = { hosts: receiver.urls, secret: SECRET }
  const options = {
    hooks,
    store: valkey.url,
    stepMs: plan.stepMs,
    jobs: plan.jobs,
    claimTimeout: CLAIM_TIMEOUT_S,
    results
  }
  /** @type {DurableGateway[]} */
  const gateways = []
  try {
    for (let index = 0; index < GATEWAYS; index++)
      gateways.push(new DurableGateway({ ...options, port: await freePort() }))
    await Promise.all(gateways.map((gateway) => gateway.start()))
    return await new Durable(plan, gateways, valkey, receiver, results).run()
  } finally {
    valkey.thaw()
    await Promise.all(gateways.map((gateway) => gateway.remove()))
    await valkey.stop()
    await receiver.stop()
    await rm(folder, { recursive: true })
  }
}

class Durable {
  /**
   * @param {Plan} plan
   * @param {DurableGateway[]} gateways
   * @param {import('../support/valkey.mjs').ValkeyServer} valkey
   * @param {EndsReceiver} receiver
   * @param {string | undefined} results the folder of images, if they are not in Valkey
   */
  constructor(plan, gateways, valkey, receiver, results) {
    this.plan = plan
    this.gateways = gateways
    this.valkey = valkey
    this.receiver = receiver
    this.results = results
    this.random = randomNumbers(plan.seed)
    /** @type {string[]} */
    this.broken = []
    this.unavailable = 0
    /** Jobs that clients may submit, and have submitted. */
    this.released = 0
    this.submitted = 0
    /** @type {Map<string, End>} the ends as they were first seen */
    this.seen = new Map()
    this.cancelled = new Set()
    /** Jobs that were forgotten and submitted anew: what was seen of them may be of the first ones. */
    this.anew = new Set()
  }

  async run() {
    const start = performance.now()
    const over = new AbortController()
    const haunting = this.haunt(over.signal)
    const watching = this.watch(over.signal)
    let next = 0
    await Promise.all(
      Array.from({ length: this.plan.clients }, async () => {
        while (next < this.plan.jobs) {
          // Faults and jobs keep in step on a fast machine and on a slow one.
          if (next >= this.released) await sleep(5)
          else await this.client(next++)
        }
      })
    )
    await this.noneLeft('jobs did not end', () => this.valkey.send('ZCARD', `${KEY}deadline`))
    over.abort()
    const faults = await haunting
    await watching
    await this.noneLeft('ends were not told', () => this.valkey.send('SCARD', `${KEY}hooked`))
    const seconds = (performance.now() - start) / 1000
    const ends = await this.verify()
    const again = /** @type {string[]} */ (await this.fields('att')).reduce(
      (sum, attempts) => sum + Math.max(0, Number(attempts) - 1),
      0
    )
    return {
      jobs: this.plan.jobs,
      ends,
      faults,
      unavailable: this.unavailable,
      madeAgain: again,
      told: {
        ends: this.receiver.taken.size,
        messages: this.receiver.told.length,
        failures: this.receiver.failures
      },
      continued: this.gateways.reduce((sum, { continued }) => sum + continued, 0),
      broken: this.broken,
      logged: this.gateways.flatMap(({ bad }) => bad),
      storeLines: this.gateways.reduce((sum, { storeLines }) => sum + storeLines, 0),
      seconds
    }
  }

  /** @param {number} index */
  async client(index) {
    const random = randomNumbers(this.plan.seed * 1_000_003 + index)
    const body = this.bodyFor(index)
    const path = `/jobs/${nameOf(index)}`
    const first = await this.ask('PUT', path, body, random)
    this.submitted += 1
    this.expect(first.status === 202, `PUT ${path} was answered ${first.status} ${first.text.slice(0, 200)}`)
    if (random() < REPEATS) {
      const again = await this.ask('PUT', path, body, random)
      this.expect(
        again.status === 202 && again.headers.get('idempotent-replayed') === 'true',
        `PUT ${path} repeated was answered ${again.status}`
      )
    }
    if (random() < REUSES) {
      const other = await this.ask('PUT', path, { ...body, seed: 999_999 }, random)
      this.expect(other.status === 409, `PUT ${path} with another body was answered ${other.status}`)
    }
    if (random() < CANCELS) {
      await sleep(random() * 200)
      // One that has ended would be forgotten.
      const { status } = JSON.parse((await this.ask('GET', path, undefined, random)).text)
      if (ENDS.has(status)) return
      this.cancelled.add(nameOf(index))
      await this.cancel(index, path, random)
    }
  }

  /** @param {number} index */
  bodyFor(index) {
    const webhook = hasWebhook(index) ? this.receiver.addressFor(index) : undefined
    return { ...bodyOf(index % BODIES), webhook }
  }

  /**
   * A DELETE that is repeated, or comes after the end, forgets the job. It is then submitted again, as a client would.
   *
   * @param {number} index
   * @param {string} path
   * @param {() => number} random
   */
  async cancel(index, path, random) {
    await this.ask('DELETE', path, undefined, random)
    const { status } = await this.ask('GET', path, undefined, random)
    if (status !== 404) return
    this.anew.add(nameOf(index))
    await this.ask('PUT', path, this.bodyFor(index), random)
  }

  /**
   * Asks either gateway until one answers for good.
   *
   * @param {string} method
   * @param {string} path
   * @param {object | undefined} body
   * @param {() => number} random
   */
  async ask(method, path, body, random) {
    const end = performance.now() + GIVE_UP_MS
    for (;;) {
      const gateway = /** @type {DurableGateway} */ (this.gateways[Math.floor(random() * GATEWAYS)])
      const answer = await fetch(gateway.url + path, {
        method,
        signal: AbortSignal.timeout(20_000),
        ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
      })
        .then(async (response) => ({
          status: response.status,
          headers: response.headers,
          bytes: Buffer.from(await response.arrayBuffer())
        }))
        .catch(() => undefined)
      if (answer !== undefined && answer.status !== 503) return { ...answer, text: answer.bytes.toString() }
      if (answer !== undefined)
        this.expect(
          Number(answer.headers.get('retry-after')) >= 1,
          `${method} ${path} was answered 503 without Retry-After`
        )
      this.unavailable += 1
      if (performance.now() > end) throw new Error(`${method} ${path} found no gateway for ${GIVE_UP_MS / 1000} s`)
      await sleep(AGAIN_MS * (0.5 + random()))
    }
  }

  /**
   * Injects faults one at a time, each into a share of the jobs. A gateway that was ended starts while others follow.
   *
   * @param {AbortSignal} signal
   */
  async haunt(signal) {
    const pick = () => /** @type {DurableGateway} */ (this.gateways[Math.floor(this.random() * GATEWAYS)])
    const pause = (/** @type {number} */ ms) => sleep(ms, undefined, { signal }).catch(() => undefined)
    /** @type {Promise<void>[]} */
    const starting = []
    /** @type {Record<string, () => Promise<void>>} */
    const kinds = {
      // First: an end that a gateway claims and is not given is told half a minute later.
      'store frozen': async () => {
        this.valkey.freeze()
        await pause(6000)
        this.valkey.thaw()
      },
      'gateway killed': async () => {
        const gateway = pick()
        await gateway.end('SIGKILL')
        await pause(500 * this.random())
        starting.push(gateway.start())
      },
      'store restarted': async () => {
        await this.valkey.kill()
        await pause(2000 * this.random())
        await this.valkey.start()
      },
      'worker killed': async () => {
        const [pid] = pick().workers()
        if (pid !== undefined) process.kill(pid, 'SIGKILL')
      },
      'gateway drained': async () => {
        const gateway = pick()
        await gateway.busy(signal)
        await gateway.end('SIGTERM')
        starting.push(gateway.start())
      },
      'gateway frozen': async () => {
        const gateway = pick()
        gateway.freeze()
        await pause(CLAIM_TIMEOUT_S * 1700)
        gateway.thaw()
      }
    }
    const names = Object.keys(kinds)
    /** @type {Record<string, number>} */
    const done = Object.fromEntries(names.map((name) => [name, 0]))
    const { jobs, faults } = this.plan
    const share = Math.ceil(jobs / (faults + 1))
    for (let count = 0; count < faults; count++) {
      this.released += share
      while (this.submitted < this.released - share / 2 && !signal.aborted) await pause(5)
      if (signal.aborted) break
      const name = /** @type {string} */ (names[count % names.length])
      await kinds[name]?.()
      done[name] = (done[name] ?? 0) + 1
      // One of two gateways is there at any time.
      await Promise.all(starting.splice(0))
    }
    this.released = jobs
    return done
  }

  /**
   * Remembers ends as they appear in the store.
   *
   * @param {AbortSignal} signal
   */
  async watch(signal) {
    while (!signal.aborted) {
      await this.note().catch(() => undefined)
      await sleep(500, undefined, { signal }).catch(() => undefined)
    }
  }

  async note() {
    const names = /** @type {string[]} */ (await this.valkey.send('ZRANGE', `${KEY}ended`, 0, -1))
    for (const name of names) {
      const id = name.slice(1)
      if (this.seen.has(id)) continue
      const end = await this.endOf(name)
      if (end !== undefined) this.seen.set(id, end)
    }
  }

  /**
   * @param {string} name in the store
   * @returns {Promise<End | undefined>}
   */
  async endOf(name) {
    const [status, outcome, revision] = /** @type {(string | null)[]} */ (
      await this.valkey.send('HMGET', `${KEY}job:${name}`, 'st', 'out', 'rev')
    )
    if (!status || !ENDS.has(status)) return undefined
    return { status, outcome: outcome ?? '', revision: revision ?? '' }
  }

  /**
   * Waits until nothing is left of what is counted.
   *
   * @param {string} what is wrong otherwise
   * @param {() => Promise<unknown>} count
   */
  async noneLeft(what, count) {
    let [left, since] = [Infinity, performance.now()]
    for (;;) {
      const waiting = await count().catch(() => left)
      if (waiting === 0) return
      if (Number(waiting) < left) [left, since] = [Number(waiting), performance.now()]
      if (performance.now() - since > GIVE_UP_MS) {
        this.broken.push(`${left} ${what} within ${GIVE_UP_MS / 1000} s`)
        return
      }
      await sleep(200)
    }
  }

  /** Compares the store with what was submitted. */
  async verify() {
    await this.note()
    /** @type {Record<string, number>} */
    const ends = {}
    const expected = await this.expectedFiles()
    /** @type {Set<string>} files that the ended jobs have outside Valkey */
    const stored = new Set()
    for (let index = 0; index < this.plan.jobs; index++) {
      const id = nameOf(index)
      const first = this.seen.get(id)
      const now = await this.endOf(`/${id}`)
      if (now === undefined || first === undefined) {
        this.broken.push(`${id} is lost`)
        continue
      }
      ends[now.status] = (ends[now.status] ?? 0) + 1
      this.expect(
        this.anew.has(id) || JSON.stringify(first) === JSON.stringify(now),
        `${id} had two ends: ${JSON.stringify([first, now])}`
      )
      this.expect(now.status !== 'cancelled' || this.cancelled.has(id), `${id} was cancelled by nobody`)
      const { error, made } = JSON.parse(now.outcome)
      if (now.status === 'failed')
        this.expect(error.code === 'WORKER_CRASHED', `${id} failed with ${now.outcome.slice(0, 200)}`)
      const files = await this.valkey.send('HLEN', `${KEY}out:/${id}`)
      const inside = now.status === 'succeeded' && this.results === undefined
      this.expect(files === (inside ? 1 : 0), `${id} has ${files} files in Valkey`)
      for (const name of namesOf(made?.stored)) stored.add(name)
      if (now.status !== 'succeeded') continue
      const hash = expected[index % BODIES]
      this.expect(made.images.length === 1 && made.images[0].sha256 === hash, `${id} has other bytes than its request`)
      if (index % 10 === 0) {
        const { bytes } = await this.ask('GET', `/jobs/${id}/images/0`, undefined, this.random)
        this.expect(digestOf(bytes) === hash, `${id}'s file has other bytes`)
      }
    }
    await this.verifyTold()
    await this.verifyStore()
    if (this.results !== undefined) await this.verifyFolder(this.results, stored)
    for (const { url } of this.gateways) {
      const gap = lawGap(await scrape(url))
      this.expect(gap === 0, `a gateway's ledger is off by ${gap}`)
    }
    return ends
  }

  /** Compares what was told with the ends in the store. */
  async verifyTold() {
    const { told, taken, broken } = this.receiver
    for (const each of broken) this.expect(false, each)
    const byJob = by(told, 'job')
    for (let index = 0; index < this.plan.jobs; index++) {
      const name = nameOf(index)
      const fields = /** @type {string[]} */ (await this.valkey.send('HMGET', `${KEY}job:/${name}`, 'st', 'end'))
      const end = hasWebhook(index) ? { status: fields[0] ?? '', endedAt: Number(fields[1]) } : undefined
      const job = { name, taken, anew: this.anew.has(name) }
      for (const each of wrongWith(byJob.get(name) ?? [], end, job)) this.expect(false, each)
      byJob.delete(name)
    }
    this.expect(byJob.size === 0, `ends were told of no job: ${[...byJob.keys()].slice(0, 5)}`)
  }

  /** What the same requests get at once. */
  async expectedFiles() {
    const hashes = []
    for (let body = 0; body < BODIES; body++) {
      const { status, bytes } = await this.ask('POST', '/generate', bodyOf(body), this.random)
      this.expect(status === 200, `POST /generate was answered ${status}`)
      hashes.push(digestOf(bytes))
    }
    return hashes
  }

  /** What jobs take is what is counted, and nothing is left of what they no longer need. */
  async verifyStore() {
    const count = await this.valkey.send('ZCARD', `${KEY}ended`)
    this.expect(count === this.plan.jobs, `the store has ${count} ended jobs`)
    const bytes = (await this.fields('bytes')).reduce((sum, each) => sum + Number(each), 0)
    const counted = Number(await this.valkey.send('GET', `${KEY}bytes`))
    this.expect(bytes === counted, `the store counts ${counted} bytes, and its jobs have ${bytes}`)
    for (const pattern of ['in:*', 'flow*', 'clock:*', 'running', 'deadline', 'staged:*']) {
      const left = /** @type {string[]} */ (await this.valkey.send('KEYS', `easel:{jobs}:${pattern}`))
      this.expect(left.length === 0, `the store has ${left.length} keys ${pattern}, first ${left[0]}`)
    }
  }

  /**
   * Every file is of a job that has it, or is to be deleted.
   *
   * @param {string} folder
   * @param {Set<string>} stored
   */
  async verifyFolder(folder, stored) {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true })
    const found = entries
      .filter((entry) => entry.isFile() && !entry.name.endsWith('.unfinished'))
      .map(({ parentPath, name }) => relative(folder, join(parentPath, name)))
    const [list] = /** @type {string[]} */ (await this.valkey.send('KEYS', `${KEY}left:*`))
    const left = list === undefined ? [] : /** @type {string[]} */ (await this.valkey.send('ZRANGE', list, 0, -1))
    const deleted = new Set(left.flatMap((files) => namesOf(JSON.parse(files))))
    for (const name of found)
      this.expect(stored.has(name) || deleted.has(name), `${name} is of no job, and nobody will delete it`)
    for (const name of stored) this.expect(found.includes(name), `${name} is not there`)
    this.expect(stored.size > 0, 'no job has a file')
  }

  /** @param {string} field of every job */
  async fields(field) {
    const script = `local all = {} for _, key in ipairs(redis.call('KEYS', ARGV[1])) do all[#all + 1] = redis.call('HGET', key, ARGV[2]) end return all`
    return /** @type {string[]} */ (await this.valkey.send('EVAL', script, 0, 'easel:{jobs}:job:*', field))
  }

  /**
   * @param {boolean} holds
   * @param {string} otherwise
   */
  expect(holds, otherwise) {
    if (!holds && this.broken.length < 100) this.broken.push(otherwise)
  }
}

/** @param {{ folder: string, files: string[] } | undefined} stored */
function namesOf(stored) {
  return (stored?.files ?? []).map((file) => `${stored?.folder}/${file}`)
}

/** @param {number} index */
function nameOf(index) {
  return `job-${index}`
}

/** @param {number} index */
function hasWebhook(index) {
  return index % 4 !== 3
}

/** @param {number} which */
function bodyOf(which) {
  return {
    prompt: `picture ${which}`,
    seed: which,
    // Some take longer than a gateway that drains has.
    num_inference_steps: which % 5 === 0 ? LONG_STEPS : 2 + (which % 12),
    guidance_scale: which % 2 === 0 ? 1 : 7,
    width: which % 3 === 0 ? 32 : 64,
    height: which % 3 === 0 ? 48 : 64
  }
}
