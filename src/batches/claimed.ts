import { EaselError, type ErrorCode } from '../errors.js'
import type { RecordClaim } from '../jobs/records.js'
import type { JobStore } from '../jobs/store.js'
import { untilDone } from '../until-done.js'
import { type Batch, batchOf, type BatchStatus } from './batch.js'

/** ms between two looks at whether anything is to be written of a batch, and whether its owner wants its end. */
const BEAT_MS = 1000
/** ms after which what the store refused is tried again. */
export const AGAIN_MS = 1000

/** What will be otherwise later. */
export const LATER: ReadonlySet<ErrorCode> = new Set(['JOB_STORE_UNAVAILABLE', 'JOBS_FULL', 'NOT_READY', 'MEMORY_FULL'])

/** The claim is lost, or this gateway closes. */
export class Left extends Error {}
/** The batch must end before all its lines have. */
export class EndsEarly extends Error {}

/** A batch that this gateway works on: its record, and the claim, until it is lost. */
export class ClaimedBatch {
  readonly batch: Batch
  /** While its numbers are counted anew, those in the store are better. */
  recounts = false
  readonly #store: JobStore
  readonly #claim: RecordClaim
  readonly #left = new AbortController()
  readonly #woken: () => void
  #cancelled: boolean
  /** What is in the store. */
  #written: string
  #writtenAt = performance.now()

  /** @param woken called when something else than a job is to be looked at */
  constructor(store: JobStore, claim: RecordClaim, woken: () => void) {
    this.#store = store
    this.#claim = claim
    this.#woken = woken
    this.batch = batchOf(claim.state)
    this.#cancelled = claim.state.cancelledAt !== undefined
    this.#written = claim.state.doc
  }

  /** Whether its owner wants its end. */
  get cancelled(): boolean {
    return this.#cancelled
  }

  /** Whether it is others' now. */
  get left(): boolean {
    return this.#left.signal.aborted
  }

  /** Leaves the batch to others. */
  leave(): void {
    this.#left.abort(new Left())
    this.#woken()
  }

  /** Renews the claim and writes what has changed until the returned function is called. */
  keepUp(): () => void {
    const timer = setInterval(() => void this.beat(), Math.min(BEAT_MS, this.#store.bounds.lease / 3))
    return () => clearInterval(timer)
  }

  /** Lets others claim it. Never throws. */
  async release(): Promise<void> {
    await this.#store.records.release(this.#claim).catch(() => undefined)
  }

  become(status: BatchStatus): void {
    const { doc } = this.batch
    doc.status = status
    doc.times[status] = Date.now()
  }

  /** @throws EndsEarly, Left */
  async save(): Promise<void> {
    await this.patiently(() => this.#put())
  }

  /** Writes its end. @throws Left */
  async close(): Promise<void> {
    await this.patiently(() => this.#put(this.#store.bounds.keep))
  }

  /** Keeps parts with the batch. @throws Left, EaselError of the store */
  async write(parts: ReadonlyMap<string, Buffer>): Promise<void> {
    if (await this.#store.records.write(this.#claim, parts)) return
    this.leave()
    throw new Left()
  }

  /** @throws EndsEarly, Left */
  unlessEarly(): void {
    this.#left.signal.throwIfAborted()
    const { status, deadline } = this.batch.doc
    if (status !== 'validating' && status !== 'in_progress') return
    if (this.#cancelled || Date.now() >= deadline) throw new EndsEarly()
  }

  /** Repeats what the store cannot do now. @throws EndsEarly, Left; what `act` throws besides */
  async patiently<T>(act: () => Promise<T>, pause = AGAIN_MS): Promise<T> {
    const attempt = async () => {
      this.unlessEarly()
      return act()
    }
    const failed = (error: unknown) => {
      if (!(error instanceof EaselError && LATER.has(error.code))) throw error
    }
    return untilDone(attempt, { pause, stop: this.#left.signal, failed })
  }

  /** Writes what has changed, and looks at whether its owner wants its end. */
  async beat(): Promise<void> {
    const { bounds, records } = this.#store
    const { status, deadline } = this.batch.doc
    if (this.left || status === 'failed' || this.#closedHere()) return
    const due = performance.now() - this.#writtenAt >= bounds.lease / 3
    try {
      if (due || this.#text() !== this.#written) await this.#put()
      else if ((await records.find(this.#claim.name))?.cancelledAt !== undefined) this.#cancel()
      if (Date.now() >= deadline) this.#woken()
    } catch (error) {
      if (!(error instanceof Left || error instanceof EaselError)) throw error
    }
  }

  /** Whether only the last write is left, which must not be overtaken by an earlier one. */
  #closedHere(): boolean {
    const { status, end } = this.batch.doc
    return status === end
  }

  #cancel(): void {
    this.#cancelled = true
    this.#woken()
  }

  /** Writes the batch, and renews the claim. @throws Left */
  async #put(closed?: number): Promise<void> {
    const text = this.#text()
    const state = await this.#store.records.update(this.#claim, text, closed)
    if (state === undefined) {
      this.leave()
      throw new Left()
    }
    this.#written = text
    this.#writtenAt = performance.now()
    if (state.cancelledAt !== undefined) this.#cancel()
  }

  #text(): string {
    return this.recounts ? this.#written : JSON.stringify(this.batch.doc)
  }
}
