import { randomUUID } from 'node:crypto'
import pLimit, { type LimitFunction } from 'p-limit'
import { EaselError } from '../../errors.js'
import type { Log } from '../../logger.js'
import { jobsFull, neverFits } from '../full.js'
import type { Records } from '../records.js'
import type { SharedState } from '../shared.js'
import {
  BATCH_WEIGHT,
  bytesOf,
  type ChangeListener,
  type Claim,
  DELETE_AGAIN_MS,
  type JobBounds,
  type JobCounts,
  type JobEnd,
  type JobFiles,
  type JobHalves,
  type JobImages,
  type JobName,
  type JobPicture,
  type JobState,
  type JobStore,
  type LeftOver,
  MAX_CRASHES,
  MOST_LEFT_OVER,
  type NewJob,
  NO_JOBS,
  shareOf
} from '../store.js'
import { webhookText } from '../webhooks.js'
import type { ValkeyAddress } from '../../valkey-address.js'
import { ValkeyConnection } from './connection.js'
import { FIELDS, keyOf, nameOf, stateOf } from './record.js'
import { ValkeyRecords } from './records.js'
import { ANSWER_CHANNEL, ASK_CHANNEL, ValkeyShared } from './shared.js'
import { ValkeyWebhooks } from './webhooks.js'

export interface ValkeyStoreOptions {
  address: ValkeyAddress
  bounds: JobBounds
  /** Replicas that must have a submission, and an end, before it counts. */
  replicas: number
  log: Log
  /** Certificates that the server's must be signed by, as PEM; by default Node's. */
  trusted?: string | undefined
  /** What keeps the images of jobs, if not this store. All its gateways should have the same. */
  place?: string | undefined
}

/** The braces make all keys one slot of a cluster. */
const PREFIX = 'easel:{jobs}:'
const CHANNEL = `${PREFIX}changes`
/** What the message about a job that waits begins with; others begin with another sign. */
const WAITS = '+'

/** The place of gateways without RESULTS. */
const NO_PLACE = 'none'

/** Seconds that pictures wait for their job, which is submitted right after them. */
const STAGED_SECONDS = 60
/** Jobs that one `tend` ends or forgets at most, of each kind. */
const MOST_AT_ONCE = 500

/** Keeps jobs in a Valkey server, for all gateways that have the same JOB_STORE. */
export class ValkeyJobStore implements JobStore {
  readonly kind = 'valkey'
  readonly bounds: JobBounds
  readonly images: JobImages
  readonly halves: JobHalves
  readonly webhooks: ValkeyWebhooks
  readonly records: Records
  readonly #connection: ValkeyConnection
  readonly #shared: ValkeyShared
  readonly #replicas: number
  readonly #listeners = new Set<ChangeListener>()
  /** Pictures of one job at a time are in memory, on their way. */
  readonly #sending: LimitFunction = pLimit(1)
  readonly #log: Log
  readonly #place: string
  #met = false
  #counts: JobCounts = NO_JOBS

  constructor({ address, bounds, replicas, log, trusted, place = NO_PLACE }: ValkeyStoreOptions) {
    this.#log = log
    this.#place = place
    this.bounds = bounds
    this.#replicas = replicas
    this.#connection = new ValkeyConnection(address, {
      prefix: PREFIX,
      channels: [CHANNEL, ASK_CHANNEL, ANSWER_CHANNEL],
      log,
      trusted,
      onMessage: (channel, text) => {
        if (channel === CHANNEL) this.#tell(nameOf(text.slice(1)), text.startsWith(WAITS))
        else this.#shared.read(channel, text)
      },
      onReady: () => {
        // Messages may have been missed.
        this.#tell(undefined, true)
        void this.#meet().catch(() => undefined)
      }
    })
    this.#shared = new ValkeyShared(this.#connection, bounds.lease)
    this.webhooks = new ValkeyWebhooks(this.#connection, bounds.keep)
    this.records = new ValkeyRecords(this.#connection, { bounds, replicas })
    this.images = {
      save: async (claim, index, bytes) => {
        await this.#connection.script('easelSave', ...held(claim), index, bytes)
      },
      read: async (name, index) => (await this.#connection.bytes(`out:${keyOf(name)}`, String(index))) ?? undefined
    }
    this.halves = {
      save: async (claim, { about, bytes }, first) => {
        const { scope } = claim.name
        const most = [this.bounds.bytes, shareOf(this.bounds.bytes, scope)]
        const said = await this.#connection.script('easelHalf', ...held(claim), first ? '1' : '', ...most, about, bytes)
        if (said === 'full') throw jobsFull('bytes', scope)
        return said === 'kept'
      }
    }
  }

  get shared(): SharedState {
    return this.#shared
  }

  get available(): boolean {
    return this.#connection.up
  }

  get counts(): JobCounts {
    return this.#counts
  }

  async submit(job: NewJob): Promise<{ state: JobState; fresh: boolean }> {
    const { scope } = job.name
    const { jobs, bytes } = this.bounds
    const size = bytesOf(job)
    if (size + job.reserve > shareOf(bytes, scope)) throw neverFits()
    const known = await this.find(job.name)
    if (known !== undefined) return { state: known, fresh: false }
    return this.#staged(job.pictures, async (staged) => {
      const [result, state] = (await this.#connection.script(
        'easelSubmit',
        keyOf(job.name),
        scope,
        job.fingerprint,
        job.about,
        job.model,
        `${job.batch ? 'b' : 'i'}|${scope}`,
        job.weight * (job.batch ? BATCH_WEIGHT : 1),
        job.cost,
        job.reserve,
        Math.ceil(job.timeout),
        size,
        job.body,
        staged === undefined ? '' : PREFIX + staged,
        JSON.stringify(job.pictures.map(({ field, bytes }) => ({ field, bytes }))),
        jobs,
        bytes,
        shareOf(jobs, scope),
        shareOf(bytes, scope),
        webhookText(job.webhook),
        job.webhook?.host ?? '',
        job.keep === undefined ? '' : Math.ceil(job.keep - this.bounds.keep)
      )) as [string, (string | null)[] | 'jobs' | 'bytes']
      if (result === 'full') throw jobsFull(state as 'jobs' | 'bytes', scope)
      if (result === 'lost') throw new EaselError('JOB_STORE_UNAVAILABLE', undefined, { retryAfter: 1 })
      await this.#connection.replicated(this.#replicas)
      return { state: stateOf(state as (string | null)[])!, fresh: result === 'new' }
    })
  }

  async find(name: JobName): Promise<JobState | undefined> {
    return stateOf(await this.#connection.fields(`job:${keyOf(name)}`, FIELDS))
  }

  async cancel(name: JobName, outcome: string): Promise<JobState | undefined> {
    const state = await this.#connection.script('easelCancel', keyOf(name), outcome)
    return state === null ? undefined : stateOf(state as (string | null)[])
  }

  async remove(name: JobName): Promise<boolean> {
    return (await this.#connection.script('easelRemove', keyOf(name))) === 1
  }

  async retain(names: readonly JobName[], until: number): Promise<void> {
    await this.#connection.script('easelRetain', Math.round(until - this.bounds.keep), ...names.map(keyOf))
  }

  async claim(owner: string, models: readonly string[], busy: readonly string[]): Promise<Claim | undefined> {
    const { bytes, lease } = this.bounds
    const share = shareOf(bytes, 'any')
    const claimed = await this.#connection.script(
      'easelClaim',
      owner,
      lease,
      bytes,
      share,
      JSON.stringify(busy),
      ...models
    )
    if (claimed === null) return undefined
    const [key, attempt, body, pictures, remaining, halves] = claimed as [
      string,
      string,
      string,
      string,
      string,
      string
    ]
    return {
      name: nameOf(key),
      attempt: Number(attempt),
      body,
      pictures: (JSON.parse(pictures) as Pick<JobPicture, 'field' | 'bytes'>[]).map((picture, index) => ({
        ...picture,
        read: () => this.#picture(key, index)
      })),
      halfDone: halves
        .split('\n')
        .filter((about) => about !== '')
        .map((about, index) => ({
          about,
          read: async () => (await this.#connection.bytes(`in:${key}`, `h${index}`)) ?? undefined
        })),
      remaining: Number(remaining)
    }
  }

  async renew(claims: readonly Claim[]): Promise<readonly Claim[]> {
    if (claims.length === 0) return []
    const lost = await this.#connection.script('easelRenew', this.bounds.lease, ...claims.flatMap(held))
    return (lost as number[]).map((index) => claims[index]!)
  }

  async progress(claim: Claim, progress: string): Promise<void> {
    await this.#connection.script('easelProgress', ...held(claim), progress)
  }

  async giveBack(claim: Claim, withHalves: boolean): Promise<void> {
    await this.#connection.script('easelGiveBack', ...held(claim), withHalves ? '1' : '')
  }

  async end(claim: Claim, end: JobEnd, outcome: string): Promise<boolean> {
    const ended = await this.#connection.script('easelEnd', ...held(claim), end, outcome)
    await this.#connection.replicated(this.#replicas)
    return ended === 1
  }

  async keepIn(claim: Claim, files: JobFiles): Promise<boolean> {
    return (await this.#connection.script('easelKeepIn', ...held(claim), files.at, JSON.stringify(files))) === 1
  }

  async leave({ name }: Claim, files: JobFiles): Promise<void> {
    await this.#connection.script('easelLeave', keyOf(name), files.at, JSON.stringify(files))
  }

  async leftOver(at: string): Promise<LeftOver> {
    const { jobs } = this.bounds
    const left = await this.#connection.script('easelLeftOver', at, DELETE_AGAIN_MS, MOST_LEFT_OVER, jobs)
    const [givenUp, all] = left as [number, string[]]
    return { files: all.map((files) => JSON.parse(files) as JobFiles), givenUp }
  }

  async deleted(files: JobFiles): Promise<void> {
    await this.#connection.script('easelDeleted', files.at, JSON.stringify(files))
  }

  async tend({ crashed, expired }: Readonly<Record<'crashed' | 'expired', string>>): Promise<void> {
    const { lease, keep } = this.bounds
    const [counts] = await Promise.all([
      this.#connection.script('easelTend', lease, keep, MAX_CRASHES, MOST_AT_ONCE, crashed, expired),
      this.records.tend(),
      this.#connection.ping()
    ])
    const [queued, running, ended, bytes, hooked] = (counts as (number | string)[]).map(Number) as [
      number,
      number,
      number,
      number,
      number
    ]
    this.webhooks.waiting = hooked
    this.#counts = { queued, running, ended, bytes }
  }

  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async close(): Promise<void> {
    this.#connection.close()
  }

  #tell(name: JobName | undefined, waits: boolean): void {
    for (const listener of this.#listeners) listener(name, waits)
  }

  /** Compares, once, where this gateway and the one that came before it keep images. */
  async #meet(): Promise<void> {
    if (this.#met) return
    this.#met = true
    try {
      const last = await this.#connection.script('easelMeet', this.#place)
      if (last !== null && last !== this.#place)
        this.#log.warn(
          {},
          'the gateway that came to the job store before this one has other RESULTS: give the same to all gateways of a store, or they cannot read the images of each other’s jobs'
        )
    } catch (error) {
      this.#met = false
      throw error
    }
  }

  async #picture(key: string, index: number): Promise<Buffer> {
    const bytes = await this.#connection.bytes(`in:${key}`, `p${index}`)
    if (bytes === null) throw new EaselError('CANCELLED', 'the job has ended')
    return bytes
  }

  /** Sends a job's pictures ahead of it, one by one. They go away by themselves if the job does not come. */
  async #staged<T>(pictures: readonly JobPicture[], submit: (staged: string | undefined) => Promise<T>): Promise<T> {
    if (pictures.length === 0) return submit(undefined)
    return this.#sending(async () => {
      const staged = `staged:${randomUUID()}`
      for (const [index, { read }] of pictures.entries())
        await this.#connection.stage(staged, { [`p${index}`]: await read() }, STAGED_SECONDS)
      try {
        return await submit(staged)
      } finally {
        await this.#connection.drop(staged).catch(() => undefined)
      }
    })
  }
}

function held({ name, attempt }: Claim): [string, string] {
  return [keyOf(name), String(attempt)]
}
