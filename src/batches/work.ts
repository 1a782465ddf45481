import { setTimeout as sleep } from 'node:timers/promises'
import type { LimitFunction } from 'p-limit'
import { EaselError, type ErrorCode } from '../errors.js'
import type { Jobs } from '../jobs/jobs.js'
import type { RecordClaim } from '../jobs/records.js'
import { isEnd, type JobName, type JobStatus } from '../jobs/store.js'
import { failureOf, jobFailureOf } from '../jobs/submission.js'
import type { Log } from '../logger.js'
import {
  type Batch,
  type BatchEnd,
  batchOf,
  type BatchStatus,
  derivedId,
  fingerprintOfLine,
  jobOf,
  type KeptLine,
  linePart,
  refusalPart,
  seedOf
} from './batch.js'
import type { Files, OutputFile } from './files.js'
import type { Endpoint } from './requests.js'
import type { BatchResults } from './results.js'
import { validate } from './validation.js'

export interface WorkParts {
  jobs: Jobs
  files: Files
  results: BatchResults
  endpoint: Endpoint
  /** Lets one batch at a time read its lines, which takes a millisecond or two for each. */
  inTurn: LimitFunction
  log: Log
  observer: BatchObserver
}

export interface BatchObserver {
  /** A batch ended at this gateway. */
  batchEnded: (status: 'failed' | BatchEnd) => void
}

/** Lines of a batch that are jobs and have not ended: enough for many chips, few enough to leave the store to others. */
const AHEAD = 256

/** ms between two looks at whether anything is to be written of a batch, and whether its owner wants its end. */
const BEAT_MS = 1000
/** ms after which what the store refused is tried again. */
const AGAIN_MS = 1000
/** ms after which lines are read again that the store had no room for. */
const REREAD_MS = 10_000
/** ms after which all jobs are looked at, should the store have said nothing of a change. */
const LOOK_MS = 10_000
/** Jobs that are looked at at once. */
const GROUP = 32

/** What will be otherwise later. */
const LATER: ReadonlySet<ErrorCode> = new Set(['JOB_STORE_UNAVAILABLE', 'JOBS_FULL', 'NOT_READY', 'MEMORY_FULL'])

/** The claim is lost, or this gateway closes. */
class Left extends Error {}
/** The batch must end before all its lines have. */
class EndsEarly extends Error {}

/** The work on one claimed batch. Whatever it does may be done twice: by this gateway, and by the next one. */
export class BatchWork {
  readonly #parts: WorkParts
  readonly #claim: RecordClaim
  readonly #batch: Batch
  readonly #left = new AbortController()
  /** Lines whose jobs have not ended. */
  readonly #pending = new Set<number>()
  /** Those of them to look at. */
  readonly #changed = new Set<number>()
  #cancelled: boolean
  /** What is in the store. */
  #written: string
  #writtenAt = performance.now()
  #wake: () => void = () => undefined
  #saidFull = false
  /** When all pending lines were last looked at. */
  #lookedAt = performance.now()
  /** Whether its numbers are being counted anew, and those in the store are better. */
  #recounts = false

  constructor(parts: WorkParts, claim: RecordClaim) {
    this.#parts = parts
    this.#claim = claim
    this.#batch = batchOf(claim.state)
    this.#cancelled = claim.state.cancelledAt !== undefined
    this.#written = claim.state.doc
  }

  get id(): string {
    return this.#claim.name.id
  }

  get scope(): string {
    return this.#claim.name.scope
  }

  /** Leaves the batch to others. */
  leave(): void {
    this.#left.abort(new Left())
    this.#wake()
  }

  /** Looks at once at whether its owner wants its end. */
  look(): void {
    void this.#beat()
  }

  /** Works until the batch has ended, or is lost. Never throws. */
  async run(): Promise<void> {
    const { jobs, log } = this.#parts
    const { store } = jobs
    const beat = setInterval(() => void this.#beat(), Math.min(BEAT_MS, store.bounds.lease / 3))
    const unwatch = store.onChange((name) => this.#told(name))
    try {
      await this.#work()
    } catch (error) {
      if (!(error instanceof Left)) {
        // Its lease ends by itself, so that it is not tried again at once.
        log.error({ err: error, batch: this.id }, 'a batch could not be worked on')
        return
      }
      await store.records.release(this.#claim).catch(() => undefined)
    } finally {
      clearInterval(beat)
      unwatch()
    }
  }

  async #work(): Promise<void> {
    const { doc } = this.#batch
    try {
      if (doc.status === 'validating' && !(await this.#validate())) return
      if (doc.status === 'in_progress') await this.#make()
    } catch (error) {
      if (!(error instanceof EndsEarly)) throw error
      this.#recounts = false
      await this.#finalizing(this.#cancelled ? 'cancelled' : 'expired')
    }
    await this.#finalize()
  }

  /** Returns whether the lines are right. */
  async #validate(): Promise<boolean> {
    const { jobs, files, endpoint, inTurn } = this.#parts
    const { doc } = this.#batch
    const read = () =>
      validate(this.#batch, {
        jobs,
        files,
        endpoint,
        // One that waits for room must not make others wait for their turn.
        write: (parts) => this.#write(parts),
        goOn: () => this.#unlessEarly()
      })
    const { total, errors } = await this.#patiently(() => inTurn(read), REREAD_MS)
    if (errors.length > 0) {
      doc.errors = errors
      this.#become('failed')
      await this.#close()
      return false
    }
    doc.total = total
    this.#become('in_progress')
    await this.#save()
    return true
  }

  /** Makes jobs of the lines, a few ahead, until all have ended. */
  async #make(): Promise<void> {
    const { doc } = this.#batch
    await this.#recover()
    for (;;) {
      this.#unlessEarly()
      const waits = !(await this.#submitMore())
      if (doc.submitted === doc.total && this.#pending.size === 0) break
      await this.#news(waits ? AGAIN_MS : LOOK_MS)
      await this.#lookAt([...this.#changed])
    }
    await this.#finalizing('completed')
  }

  /** Finds out what became of the lines that are jobs already. */
  async #recover(): Promise<void> {
    const { doc } = this.#batch
    this.#recounts = true
    doc.completed = 0
    doc.failed = 0
    for (let line = 0; line < doc.submitted; line++) this.#pending.add(line)
    await this.#lookAt([...this.#pending])
    this.#recounts = false
  }

  /** Returns false if something is to be waited for. */
  async #submitMore(): Promise<boolean> {
    const { doc } = this.#batch
    while (doc.submitted < doc.total && this.#pending.size < AHEAD) {
      this.#unlessEarly()
      if (!(await this.#submit(doc.submitted))) return false
      doc.submitted += 1
    }
    return true
  }

  /** Makes a job of a line; a line that cannot be one has failed. Returns false if something is to be waited for. */
  async #submit(line: number): Promise<boolean> {
    const { jobs, endpoint, log } = this.#parts
    const { name, doc } = this.#batch
    const remaining = doc.deadline - Date.now()
    try {
      const part = await jobs.store.records.read(name, linePart(line))
      if (part === undefined) throw new Left()
      const { body } = JSON.parse(part.toString()) as KeptLine
      const { request, known } = endpoint.requestOf(body)
      if (!known) return false
      const job = jobOf(name, line)
      const caller = { id: job.id, scope: name.scope, ...doc.caller, timeout: Math.max(1, remaining) }
      const { state } = await jobs.submit(
        { ...request, seed: request.seed ?? seedOf(name, line), priority: 'batch' },
        caller,
        [],
        {
          id: job.id,
          fingerprint: fingerprintOfLine(name, line),
          // Until the batch has ended and its results are no longer kept, however early this line ends.
          keep: Math.max(0, remaining) + jobs.store.bounds.keep
        }
      )
      if (isEnd(state.status)) this.#ended(line, state.status)
      else this.#pending.add(line)
      return true
    } catch (error) {
      if (!(error instanceof EaselError)) throw error
      if (error.code === 'DRAINING') throw new Left()
      if (LATER.has(error.code)) {
        if (error.code === 'JOBS_FULL' && !this.#saidFull) {
          this.#saidFull = true
          log.info({ batch: this.id }, `a batch waits for room in the job store: ${error.message}`)
        }
        return false
      }
      await this.#patiently(() =>
        this.#write(new Map([[refusalPart(line), Buffer.from(JSON.stringify(jobFailureOf(error)))]]))
      )
      this.#ended(line, 'failed')
      return true
    }
  }

  #ended(line: number, status: JobStatus): void {
    this.#pending.delete(line)
    this.#changed.delete(line)
    this.#batch.doc[status === 'succeeded' ? 'completed' : 'failed'] += 1
  }

  async #lookAt(lines: readonly number[]): Promise<void> {
    const { store } = this.#parts.jobs
    const { name } = this.#batch
    for (const line of lines) this.#changed.delete(line)
    for (let at = 0; at < lines.length; at += GROUP) {
      const group = lines.slice(at, at + GROUP)
      const states = await this.#patiently(() => Promise.all(group.map((line) => store.find(jobOf(name, line)))))
      for (const [index, line] of group.entries()) {
        const state = states[index]
        if (state === undefined) await this.#again(line)
        else if (isEnd(state.status)) this.#ended(line, state.status)
      }
    }
  }

  /** A line has no job: it was refused, or its job is gone and is made once more. */
  async #again(line: number): Promise<void> {
    const { records } = this.#parts.jobs.store
    const refusal = await this.#patiently(() => records.read(this.#batch.name, refusalPart(line)))
    if (refusal !== undefined) this.#ended(line, 'failed')
    else if (!(await this.#submit(line))) this.#pending.add(line)
  }

  async #finalizing(end: BatchEnd): Promise<void> {
    this.#batch.doc.end = end
    this.#become('finalizing')
    await this.#save()
  }

  /** Ends what has not ended, counts, and writes what the batch has become. */
  async #finalize(): Promise<void> {
    const { jobs, results } = this.#parts
    const { doc, name } = this.#batch
    const { store } = jobs
    const end = doc.end!
    const keep = Math.min(store.bounds.keep, doc.resultTtl ?? Infinity)
    const outcome = JSON.stringify(failureOf(new EaselError('CANCELLED', `the batch of this job has ended (${end})`)))
    const cancel = (job: JobName) => store.cancel(job, outcome)
    const { completed, failed, largest, bytes } = await this.#patiently(() =>
      results.settle(this.#batch, Date.now() + keep, cancel)
    )
    Object.assign(doc, { completed, failed, largest })
    for (const [which, count] of [
      ['output', completed],
      ['error', failed]
    ] as const) {
      if (count === 0) continue
      doc[which] = derivedId(name, 'file-', which)
      const file: OutputFile = {
        purpose: 'batch_output',
        filename: `${name.id}_${which}.jsonl`,
        bytes: bytes[which],
        batch: name.id,
        which
      }
      await this.#patiently(() =>
        store.records.create({
          name: { kind: 'file', scope: name.scope, id: doc[which]! },
          doc: JSON.stringify(file),
          ttl: keep,
          as: 'shown',
          always: true
        })
      )
    }
    this.#become(end)
    await this.#close()
  }

  #become(status: BatchStatus): void {
    const { doc } = this.#batch
    doc.status = status
    doc.times[status] = Date.now()
  }

  async #save(): Promise<void> {
    await this.#patiently(() => this.#put())
  }

  async #close(): Promise<void> {
    const { jobs, log, observer } = this.#parts
    const { doc } = this.#batch
    await this.#patiently(() => this.#put(jobs.store.bounds.keep))
    const { status, total, completed, failed } = doc
    observer.batchEnded(status as 'failed' | BatchEnd)
    log.info({ batch: this.id, status, total, completed, failed }, 'a batch has ended')
  }

  /** Writes the batch, and renews the claim. @throws Left */
  async #put(closed?: number): Promise<void> {
    const text = this.#text()
    const state = await this.#parts.jobs.store.records.update(this.#claim, text, closed)
    if (state === undefined) {
      this.leave()
      throw new Left()
    }
    this.#written = text
    this.#writtenAt = performance.now()
    if (state.cancelledAt !== undefined) this.#cancel()
  }

  #text(): string {
    return this.#recounts ? this.#written : JSON.stringify(this.#batch.doc)
  }

  async #write(parts: ReadonlyMap<string, Buffer>): Promise<void> {
    if (await this.#parts.jobs.store.records.write(this.#claim, parts)) return
    this.leave()
    throw new Left()
  }

  async #beat(): Promise<void> {
    const { store } = this.#parts.jobs
    if (this.#left.signal.aborted || this.#batch.doc.status === 'failed' || this.#closedHere()) return
    const due = performance.now() - this.#writtenAt >= store.bounds.lease / 3
    try {
      if (due || this.#text() !== this.#written) await this.#put()
      else if ((await store.records.find(this.#claim.name))?.cancelledAt !== undefined) this.#cancel()
      if (Date.now() >= this.#batch.doc.deadline) this.#wake()
    } catch (error) {
      if (!(error instanceof Left || error instanceof EaselError)) throw error
    }
  }

  /** Whether only the last write is left, which must not be overtaken by an earlier one. */
  #closedHere(): boolean {
    const { status, end } = this.#batch.doc
    return status === end
  }

  #cancel(): void {
    this.#cancelled = true
    this.#wake()
  }

  /** @throws EndsEarly, Left */
  #unlessEarly(): void {
    this.#left.signal.throwIfAborted()
    const { status, deadline } = this.#batch.doc
    if (status !== 'validating' && status !== 'in_progress') return
    if (this.#cancelled || Date.now() >= deadline) throw new EndsEarly()
  }

  /** Repeats what the store cannot do now. @throws EndsEarly, Left; what `act` throws besides */
  async #patiently<T>(act: () => Promise<T>, pause = AGAIN_MS): Promise<T> {
    for (;;) {
      this.#unlessEarly()
      try {
        return await act()
      } catch (error) {
        if (!(error instanceof EaselError && LATER.has(error.code))) throw error
      }
      await sleep(pause, undefined, { signal: this.#left.signal }).catch(() => undefined)
    }
  }

  /** Waits until a job has changed, or something else is to be looked at. */
  async #news(most: number): Promise<void> {
    if (this.#changed.size > 0 || this.#cancelled || this.#left.signal.aborted) return
    const timer = setTimeout(() => {
      if (performance.now() - this.#lookedAt >= LOOK_MS) this.#lookAtAll()
      this.#wake()
    }, most)
    await new Promise<void>((resolve) => (this.#wake = resolve))
    clearTimeout(timer)
  }

  #lookAtAll(): void {
    this.#lookedAt = performance.now()
    for (const line of this.#pending) this.#changed.add(line)
  }

  #told(name: JobName | undefined): void {
    if (name === undefined) this.#lookAtAll()
    else {
      const { scope, id } = this.#claim.name
      if (name.scope !== scope || !name.id.startsWith(`${id}-`)) return
      const line = Number(name.id.slice(id.length + 1))
      if (!this.#pending.has(line)) return
      this.#changed.add(line)
    }
    this.#wake()
  }
}
