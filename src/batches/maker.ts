import { EaselError } from '../errors.js'
import { isEnd, type JobName, type JobStatus } from '../jobs/store.js'
import { jobFailureOf } from '../jobs/submission.js'
import { fingerprintOfLine, jobOf, type KeptLine, linePart, refusalPart, seedOf } from './batch.js'
import { AGAIN_MS, type ClaimedBatch, LATER, Left } from './claimed.js'
import type { WorkParts } from './parts.js'

/** Lines of a batch that are jobs and have not ended: enough for many chips, few enough to leave the store to others. */
const AHEAD = 256

/** ms after which all jobs are looked at, should the store have said nothing of a change. */
const LOOK_MS = 10_000
/** Jobs that are looked at at once. */
const GROUP = 32

type Parts = Pick<WorkParts, 'jobs' | 'endpoint' | 'log'>

/** Makes jobs of a batch's lines, a few ahead, and follows them to their ends. */
export class LineMaker {
  readonly #parts: Parts
  readonly #claimed: ClaimedBatch
  /** Lines whose jobs have not ended. */
  readonly #pending = new Set<number>()
  /** Those of them to look at. */
  readonly #changed = new Set<number>()
  #wake: () => void = () => undefined
  #saidFull = false
  /** When all pending lines were last looked at. */
  #lookedAt = performance.now()

  constructor(parts: Parts, claimed: ClaimedBatch) {
    this.#parts = parts
    this.#claimed = claimed
  }

  /** Goes on at once, if it waits for jobs. */
  wake(): void {
    this.#wake()
  }

  /** Makes all lines. Returns when all have ended. @throws EndsEarly, Left, EaselError */
  async make(): Promise<void> {
    const { doc } = this.#claimed.batch
    await this.#recover()
    for (;;) {
      this.#claimed.unlessEarly()
      const waits = !(await this.#submitMore())
      if (doc.submitted === doc.total && this.#pending.size === 0) return
      await this.#news(waits ? AGAIN_MS : LOOK_MS)
      await this.#lookAt([...this.#changed])
    }
  }

  /** Call it when a job has changed. @param name undefined if any may have */
  told(name: JobName | undefined): void {
    if (name === undefined) this.#lookAtAll()
    else {
      const { scope, id } = this.#claimed.batch.name
      if (name.scope !== scope || !name.id.startsWith(`${id}-`)) return
      const line = Number(name.id.slice(id.length + 1))
      if (!this.#pending.has(line)) return
      this.#changed.add(line)
    }
    this.#wake()
  }

  /** Finds out what became of the lines that are jobs already. */
  async #recover(): Promise<void> {
    const claimed = this.#claimed
    const { doc } = claimed.batch
    claimed.recounts = true
    doc.completed = 0
    doc.failed = 0
    for (let line = 0; line < doc.submitted; line++) this.#pending.add(line)
    try {
      await this.#lookAt([...this.#pending])
    } finally {
      claimed.recounts = false
    }
  }

  /** Returns false if something is to be waited for. */
  async #submitMore(): Promise<boolean> {
    const { doc } = this.#claimed.batch
    while (doc.submitted < doc.total && this.#pending.size < AHEAD) {
      this.#claimed.unlessEarly()
      if (!(await this.#submit(doc.submitted))) return false
      doc.submitted += 1
    }
    return true
  }

  /** Makes a job of a line; a line that cannot be one has failed. Returns false if something is to be waited for. */
  async #submit(line: number): Promise<boolean> {
    const { jobs, endpoint, log } = this.#parts
    const claimed = this.#claimed
    const { name, doc } = claimed.batch
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
          log.info({ batch: name.id }, `a batch waits for room in the job store: ${error.message}`)
        }
        return false
      }
      const refusal = new Map([[refusalPart(line), Buffer.from(JSON.stringify(jobFailureOf(error)))]])
      await claimed.patiently(() => claimed.write(refusal))
      this.#ended(line, 'failed')
      return true
    }
  }

  #ended(line: number, status: JobStatus): void {
    this.#pending.delete(line)
    this.#changed.delete(line)
    this.#claimed.batch.doc[status === 'succeeded' ? 'completed' : 'failed'] += 1
  }

  async #lookAt(lines: readonly number[]): Promise<void> {
    const { store } = this.#parts.jobs
    const { name } = this.#claimed.batch
    for (const line of lines) this.#changed.delete(line)
    for (let at = 0; at < lines.length; at += GROUP) {
      const group = lines.slice(at, at + GROUP)
      const find = () => Promise.all(group.map((line) => store.find(jobOf(name, line))))
      const states = await this.#claimed.patiently(find)
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
    const refusal = await this.#claimed.patiently(() => records.read(this.#claimed.batch.name, refusalPart(line)))
    if (refusal !== undefined) this.#ended(line, 'failed')
    else if (!(await this.#submit(line))) this.#pending.add(line)
  }

  /** Waits until a job has changed, or something else is to be looked at. */
  async #news(most: number): Promise<void> {
    if (this.#changed.size > 0 || this.#claimed.cancelled || this.#claimed.left) return
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
}
