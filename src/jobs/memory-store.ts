import type { Hold, MemoryBudget } from '../memory.js'
import { jobsFull, neverFits } from './full.js'
import { MemoryWebhooks } from './memory-webhooks.js'
import { MemoryRecords } from './memory-records.js'
import {
  BATCH_WEIGHT,
  bytesOf,
  type ChangeListener,
  type Claim,
  DELETE_AGAIN_MS,
  isEnd,
  type JobBounds,
  type JobCounts,
  type JobEnd,
  type JobFiles,
  type JobImages,
  type JobName,
  type JobPicture,
  type JobState,
  type JobStatus,
  type JobStore,
  type LeftOver,
  MAX_CRASHES,
  MOST_LEFT_OVER,
  type NewJob,
  SETTLE_MS,
  shareOf
} from './store.js'
import type { Told } from './webhooks.js'

export interface MemoryStoreOptions {
  bounds: JobBounds
  memory: MemoryBudget
  /** Frees memory that answers kept for retries take, so that this many bytes fit. Returns whether they do. */
  makeRoom: (bytes: number) => boolean
}

interface Stored {
  readonly name: JobName
  readonly job: NewJob
  flow: Flow
  readonly submittedAt: number
  readonly deadline: number
  pictures: readonly JobPicture[]
  body: string
  revision: number
  status: JobStatus
  attempt: number
  crashes: number
  /** Until when its claim is valid, in ms. */
  lease: number
  startedAt: number | undefined
  endedAt: number | undefined
  /** As `keptFrom`; before its end the least that it will be. */
  till: number | undefined
  progress: string | undefined
  outcome: string | undefined
  images: Map<number, Buffer>
  /** Where its images are, or may be, outside this store. */
  files: JobFiles | undefined
  bytes: number
}

/**
 * The waiting jobs of one caller, model and class.
 *
 * @see https://doi.org/10.1109/INFCOM.1994.337677 self-clocked fair queueing
 */
interface Flow {
  readonly model: string
  readonly scope: string
  readonly weight: number
  /** The virtual time at which its first job would be done. */
  time: number
  readonly waiting: Stored[]
}

/** Keeps jobs in this process: they end with it. */
export class MemoryJobStore implements JobStore {
  readonly kind = 'memory'
  readonly available = true
  readonly shared = undefined
  readonly halves = undefined
  readonly bounds: JobBounds
  readonly images: JobImages
  readonly webhooks = new MemoryWebhooks()
  readonly records: MemoryRecords
  readonly #options: MemoryStoreOptions
  readonly #jobs = new Map<string, Stored>()
  readonly #flows = new Map<string, Flow>()
  readonly #listeners = new Set<ChangeListener>()
  /** Jobs and bytes of each scope, and which of the bytes are those of records. */
  readonly #scopes = new Map<string, { jobs: number; bytes: number; records: number }>()
  /** The jobs that nobody has begun. */
  readonly #fresh = new Set<Stored>()
  /** Files that no job has any more, as JSON, with when somebody may delete them. */
  readonly #left = new Map<string, number>()
  #givenUp = 0
  readonly #hold: Hold
  #bytes = 0
  /** The virtual time of the last claim, by model. */
  readonly #clocks = new Map<string, number>()

  constructor(options: MemoryStoreOptions) {
    this.#options = options
    this.bounds = options.bounds
    this.#hold = options.memory.hold('jobs', 0)
    this.images = {
      save: async (claim, index, bytes) => {
        const job = this.#claimed(claim)
        if (job === undefined) return
        job.images.set(index, bytes)
        // What is reserved for the images includes this one, unless it is larger than foreseen.
        this.#count(job, bytesOf(job.job) + Math.max(job.job.reserve, sizeOf(job.images)))
      },
      read: async (name, index) => this.#jobs.get(keyOf(name))?.images.get(index)
    }
    this.records = new MemoryRecords({
      lease: this.bounds.lease,
      refuseUnlessFits: (scope, bytes) => this.#refuseBytes(scope, bytes),
      count: (scope, bytes) => this.#add(scope, bytes, bytes),
      webhooks: this.webhooks
    })
  }

  get counts(): JobCounts {
    const counts = { queued: 0, running: 0, ended: 0, bytes: this.#bytes }
    for (const { status } of this.#jobs.values()) counts[isEnd(status) ? 'ended' : status] += 1
    return counts
  }

  async submit(job: NewJob): Promise<{ state: JobState; fresh: boolean }> {
    const known = this.#jobs.get(keyOf(job.name))
    if (known !== undefined) return { state: stateOf(known), fresh: false }
    this.#refuseUnlessFits(job)
    const pictures = await inMemory(job.pictures)
    // Reading took time, in which others may have come.
    const raced = this.#jobs.get(keyOf(job.name))
    if (raced !== undefined) return { state: stateOf(raced), fresh: false }
    this.#refuseUnlessFits(job)
    const now = Date.now()
    const stored: Stored = {
      name: job.name,
      job,
      flow: this.#flowOf(job),
      submittedAt: now,
      deadline: now + job.timeout,
      pictures,
      body: job.body,
      revision: 1,
      status: 'queued',
      attempt: 0,
      crashes: 0,
      lease: 0,
      startedAt: undefined,
      endedAt: undefined,
      till: job.keep === undefined ? undefined : now + job.keep - this.bounds.keep,
      progress: undefined,
      outcome: undefined,
      images: new Map(),
      files: undefined,
      bytes: 0
    }
    this.#jobs.set(keyOf(job.name), stored)
    this.#scope(job.name.scope).jobs += 1
    this.#count(stored, bytesOf(job))
    stored.flow.waiting.push(stored)
    this.#fresh.add(stored)
    this.#tell(stored)
    return { state: stateOf(stored), fresh: true }
  }

  async find(name: JobName): Promise<JobState | undefined> {
    const job = this.#jobs.get(keyOf(name))
    return job && stateOf(job)
  }

  async cancel(name: JobName, outcome: string): Promise<JobState | undefined> {
    const job = this.#jobs.get(keyOf(name))
    if (job !== undefined && !isEnd(job.status)) this.#end(job, 'cancelled', outcome)
    return job && stateOf(job)
  }

  async remove(name: JobName): Promise<boolean> {
    const job = this.#jobs.get(keyOf(name))
    if (job === undefined || !isEnd(job.status)) return false
    this.#forget(job)
    return true
  }

  async retain(names: readonly JobName[], until: number): Promise<void> {
    for (const name of names) {
      const job = this.#jobs.get(keyOf(name))
      if (job !== undefined && isEnd(job.status)) job.till = until - this.bounds.keep
    }
  }

  async claim(_owner: string, models: readonly string[], busy: readonly string[]): Promise<Claim | undefined> {
    const able = [...this.#flows.values()].filter(
      ({ model, scope, waiting }) => models.includes(model) && !busy.includes(scope) && this.#hasRoom(waiting[0]!)
    )
    const [next] = able.sort((a, b) => a.time - b.time)
    if (next === undefined || !this.#options.makeRoom(next.waiting[0]!.job.reserve)) return undefined
    const job = next.waiting.shift()!
    this.#clocks.set(next.model, next.time)
    const [head] = next.waiting
    if (head === undefined) this.#flows.delete(flowKey(job.job))
    else next.time += head.job.cost / next.weight
    this.#fresh.delete(job)
    job.status = 'running'
    job.attempt += 1
    job.startedAt = Date.now()
    job.lease = job.startedAt + this.bounds.lease
    job.progress = undefined
    this.#count(job, bytesOf(job.job) + job.job.reserve)
    this.#changed(job)
    const { name, attempt, body, pictures, deadline } = job
    return { name, attempt, body, pictures, halfDone: [], remaining: deadline - Date.now() }
  }

  async renew(claims: readonly Claim[]): Promise<readonly Claim[]> {
    return claims.filter((claim) => {
      const job = this.#claimed(claim)
      if (job !== undefined) job.lease = Date.now() + this.bounds.lease
      return job === undefined
    })
  }

  async progress(claim: Claim, progress: string): Promise<void> {
    const job = this.#claimed(claim)
    if (job === undefined) return
    job.progress = progress
    this.#changed(job)
  }

  async giveBack(claim: Claim): Promise<void> {
    const job = this.#claimed(claim)
    if (job !== undefined) this.#requeue(job)
  }

  async end(claim: Claim, end: JobEnd, outcome: string): Promise<boolean> {
    const job = this.#jobs.get(keyOf(claim.name))
    if (job === undefined || job.attempt !== claim.attempt) return false
    if (job.status === 'running') this.#end(job, end, outcome)
    return job.status === end && job.outcome === outcome
  }

  async keepIn(claim: Claim, files: JobFiles): Promise<boolean> {
    const job = this.#claimed(claim)
    if (job === undefined) return false
    if (!isSame(job.files, files)) this.#leave(job, SETTLE_MS)
    job.files = files
    this.#left.delete(JSON.stringify(files))
    return true
  }

  async leave({ name }: Claim, files: JobFiles): Promise<void> {
    if (!isSame(this.#jobs.get(keyOf(name))?.files, files)) this.#addLeft(files, 0)
  }

  async leftOver(at: string): Promise<LeftOver> {
    const now = Date.now()
    const due = [...this.#left].filter(([, time]) => time <= now).sort(([, a], [, b]) => a - b)
    const files = due
      .map(([files]) => JSON.parse(files) as JobFiles)
      .filter((files) => files.at === at)
      .slice(0, MOST_LEFT_OVER)
      .map((files) => {
        this.#left.set(JSON.stringify(files), now + DELETE_AGAIN_MS)
        return files
      })
    const givenUp = this.#givenUp
    this.#givenUp = 0
    return { files, givenUp }
  }

  async deleted(files: JobFiles): Promise<void> {
    this.#left.delete(JSON.stringify(files))
  }

  async tend(outcomes: Readonly<Record<'crashed' | 'expired', string>>): Promise<void> {
    const now = Date.now()
    for (const job of this.#jobs.values()) {
      if (isEnd(job.status)) {
        if (now - job.till! >= this.bounds.keep) this.#forget(job)
      } else if (now >= job.deadline) this.#end(job, 'expired', outcomes.expired)
      else if (job.status === 'running' && now >= job.lease) {
        job.crashes += 1
        if (job.crashes >= MAX_CRASHES) this.#end(job, 'failed', outcomes.crashed)
        else this.#requeue(job)
      }
    }
    await this.records.tend()
  }

  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async close(): Promise<void> {
    this.#hold.release()
  }

  #refuseUnlessFits(job: NewJob): void {
    const { bounds } = this
    const { scope } = job.name
    const bytes = bytesOf(job)
    if (bytes + job.reserve > shareOf(bounds.bytes, scope)) throw neverFits()
    const used = this.#scope(scope)
    if (this.#jobs.size >= bounds.jobs || used.jobs >= shareOf(bounds.jobs, scope)) throw jobsFull('jobs', scope)
    this.#refuseBytes(scope, bytes, job.reserve)
  }

  #refuseBytes(scope: string, bytes: number, reserve = 0): void {
    const { bounds } = this
    if (this.#bytes + bytes > bounds.bytes || this.#scope(scope).bytes + bytes > shareOf(bounds.bytes, scope))
      throw jobsFull('bytes', scope)
    if (this.#isStuck(scope, bytes, reserve)) throw jobsFull('bytes', scope)
    if (!this.#options.makeRoom(bytes)) throw jobsFull('bytes', scope)
  }

  /**
   * Whether with these bytes the records, and the jobs that nobody has begun, would leave too little for the images of one of
   * the jobs: then nobody could begin it, and it would wait for its deadline.
   */
  #isStuck(scope: string, bytes: number, reserve: number): boolean {
    const all = { bytes, reserve }
    const own = { bytes, reserve }
    for (const [other, { records }] of this.#scopes) {
      all.bytes += records
      if (other === scope) own.bytes += records
    }
    for (const { name, job, bytes: taken } of this.#fresh)
      for (const sum of name.scope === scope ? [all, own] : [all]) {
        sum.bytes += taken
        sum.reserve = Math.max(sum.reserve, job.reserve)
      }
    const most = this.bounds.bytes
    return all.bytes + all.reserve > most || own.bytes + own.reserve > shareOf(most, scope)
  }

  /** Whether the images of a waiting job fit. */
  #hasRoom({ name: { scope }, job: { reserve } }: Stored): boolean {
    const { bytes } = this.bounds
    return this.#bytes + reserve <= bytes && this.#scope(scope).bytes + reserve <= shareOf(bytes, scope)
  }

  /** The job, if the claim is its present one. */
  #claimed({ name, attempt }: Claim): Stored | undefined {
    const job = this.#jobs.get(keyOf(name))
    return job?.status === 'running' && job.attempt === attempt ? job : undefined
  }

  #end(job: Stored, end: JobEnd, outcome: string): void {
    const { waiting } = job.flow
    if (job.status === 'queued') {
      waiting.splice(waiting.indexOf(job), 1)
      if (waiting.length === 0) this.#flows.delete(flowKey(job.job))
    }
    this.#fresh.delete(job)
    job.status = end
    job.outcome = outcome
    job.endedAt = Date.now()
    job.till = Math.max(job.till ?? 0, job.endedAt)
    job.body = ''
    job.pictures = []
    if (end !== 'succeeded') {
      job.images.clear()
      this.#leave(job, SETTLE_MS)
    }
    this.#count(job, bytesOf({ ...job.job, body: outcome, pictures: [] }) + sizeOf(job.images))
    this.#changed(job)
    const { webhook, name } = job.job
    const forgottenAt = job.endedAt + this.bounds.keep
    const told = (): Told => ({ kind: 'job', name, state: stateOf(job) })
    if (webhook !== undefined) this.webhooks.add(keyOf(name), { scope: name.scope, webhook, forgottenAt, told })
  }

  #requeue(job: Stored): void {
    job.status = 'queued'
    job.images.clear()
    job.progress = undefined
    this.#count(job, bytesOf(job.job))
    // It has been paid for.
    job.flow = this.#flowOf(job.job, 0)
    job.flow.waiting.unshift(job)
    this.#changed(job)
  }

  /** A job's files are left over, after so many ms. */
  #leave(job: Stored, after: number): void {
    if (job.files !== undefined) this.#addLeft(job.files, after)
    job.files = undefined
  }

  #addLeft(files: JobFiles, after: number): void {
    this.#left.set(JSON.stringify(files), Date.now() + after)
    if (this.#left.size <= this.bounds.jobs) return
    this.#givenUp += 1
    const oldest = Math.min(...this.#left.values())
    for (const [left, time] of this.#left) if (time === oldest) return void this.#left.delete(left)
  }

  #forget(job: Stored): void {
    this.#leave(job, 0)
    this.#jobs.delete(keyOf(job.name))
    this.webhooks.drop(keyOf(job.name))
    const { scope } = job.name
    this.#count(job, 0)
    this.#scope(scope).jobs -= 1
    this.#add(scope, 0)
    this.#tell(job)
  }

  #flowOf(job: NewJob, cost = job.cost): Flow {
    const key = flowKey(job)
    const known = this.#flows.get(key)
    if (known !== undefined) return known
    const { model, weight, batch, name } = job
    const share = weight * (batch ? BATCH_WEIGHT : 1)
    const time = (this.#clocks.get(model) ?? 0) + cost / share
    const flow: Flow = { model, scope: name.scope, weight: share, time, waiting: [] }
    this.#flows.set(key, flow)
    return flow
  }

  #scope(scope: string): { jobs: number; bytes: number; records: number } {
    const used = this.#scopes.get(scope) ?? { jobs: 0, bytes: 0, records: 0 }
    this.#scopes.set(scope, used)
    return used
  }

  #count(job: Stored, bytes: number): void {
    this.#add(job.name.scope, bytes - job.bytes)
    job.bytes = bytes
  }

  #add(scope: string, bytes: number, records = 0): void {
    this.#bytes += bytes
    const used = this.#scope(scope)
    used.bytes += bytes
    used.records += records
    if (used.jobs === 0 && used.bytes === 0) this.#scopes.delete(scope)
    this.#hold.resize(this.#bytes)
  }

  #changed(job: Stored): void {
    job.revision += 1
    this.#tell(job)
  }

  #tell({ name, status }: Stored): void {
    for (const listener of this.#listeners) listener(name, status === 'queued')
  }
}

function keyOf({ scope, id }: JobName): string {
  return `${scope}/${id}`
}

function flowKey({ model, batch, name }: NewJob): string {
  return JSON.stringify([model, batch, name.scope])
}

function isSame(a: JobFiles | undefined, b: JobFiles): boolean {
  return a !== undefined && JSON.stringify(a) === JSON.stringify(b)
}

function sizeOf(images: ReadonlyMap<number, Buffer>): number {
  return [...images.values()].reduce((sum, { length }) => sum + length, 0)
}

async function inMemory(pictures: readonly JobPicture[]): Promise<JobPicture[]> {
  const read: JobPicture[] = []
  for (const { field, bytes, read: file } of pictures) {
    const content = await file()
    read.push({ field, bytes, read: async () => content })
  }
  return read
}

function stateOf(job: Stored): JobState {
  const { revision, status, submittedAt, deadline, startedAt, endedAt, till, crashes, progress, outcome } = job
  const { fingerprint, about } = job.job
  return {
    revision,
    status,
    fingerprint,
    about,
    submittedAt,
    deadline,
    startedAt,
    endedAt,
    keptFrom: endedAt === undefined ? undefined : till,
    crashes,
    progress,
    outcome
  }
}
