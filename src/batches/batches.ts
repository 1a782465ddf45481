import { createHash, randomBytes } from 'node:crypto'
import { EaselError } from '../errors.js'
import type { Jobs } from '../jobs/jobs.js'
import type { NewRecord, Page, RecordName } from '../jobs/records.js'
import type { Submission } from '../jobs/submission.js'
import { NOT_READY_RETRY_SECONDS } from '../service/failures.js'
import type { ImageService } from '../service/service.js'
import { type Batch, type BatchDoc, batchOf } from './batch.js'
import { type Files, goneAfter } from './files.js'
import type { BatchResults } from './results.js'
import type { BatchRunner } from './runner.js'
import { mostLines, tooManyLines } from './validation.js'
import { excerpt } from '../excerpt.js'

/** ms that a batch may take, unless JOB_TIMEOUT is less: the only completion window of OpenAI's API. */
const WINDOW_MS = 86_400_000

/** ms for which a batch that no gateway works on any more is kept after its deadline. */
const FORGOTTEN_MS = 86_400_000

export interface NewBatch {
  readonly input: string
  readonly endpoint: string
  readonly window: string
  readonly metadata: Readonly<Record<string, string>> | null
  /** ms */
  readonly resultTtl: number | undefined
  /** Where its end is told. */
  readonly webhook: string | undefined
  /** The client's Idempotency-Key. */
  readonly key: string | undefined
  readonly fingerprint: string
  readonly caller: Submission['caller']
}

export interface BatchesParts {
  service: ImageService
  jobs: Jobs
  files: Files
  results: BatchResults
  runner: BatchRunner
}

/** Batches: many requests in one file, which are made as jobs. Independent of HTTP. */
export class Batches {
  readonly #parts: BatchesParts

  constructor(parts: BatchesParts) {
    this.#parts = parts
  }

  /**
   * Creates a batch, or finds the one of the same key and body.
   *
   * @throws EaselError NOT_FOUND, INVALID_REQUEST or LIMIT_EXCEEDED for its file; WEBHOOK_NOT_ALLOWED, IDEMPOTENCY_KEY_REUSED,
   *   JOBS_FULL, JOB_STORE_UNAVAILABLE, DRAINING
   */
  async create(scope: string, asked: NewBatch): Promise<{ batch: Batch; fresh: boolean }> {
    const { service, jobs, files, runner } = this.#parts
    if (service.draining) throw new EaselError('DRAINING', undefined, { retryAfter: NOT_READY_RETRY_SECONDS })
    const { key, resultTtl, webhook: url, ...rest } = asked
    const webhook = jobs.webhookTo(url, scope)
    const name: RecordName = { kind: 'batch', scope, id: key === undefined ? newId() : idOfKey(scope, key) }
    const known = key === undefined ? undefined : await jobs.store.records.find(name)
    if (known === undefined) {
      const { doc } = await files.get(scope, asked.input).catch(aboutInput)
      if (doc.purpose !== 'batch') throw aboutFile('INVALID_REQUEST', 'input_file_id must be a file of purpose batch')
      const limit = mostLines(jobs, scope)
      if (doc.lines > limit.most)
        throw aboutFile('LIMIT_EXCEEDED', `the file has ${doc.lines} lines. ${tooManyLines(limit)}`)
    }
    const window = Math.min(WINDOW_MS, jobs.timeout)
    const doc: BatchDoc = {
      ...rest,
      ...(resultTtl === undefined ? {} : { resultTtl }),
      deadline: Date.now() + window,
      status: 'validating',
      times: {},
      errors: [],
      total: 0,
      completed: 0,
      failed: 0,
      submitted: 0,
      largest: 0
    }
    const ttl = window + jobs.store.bounds.keep + FORGOTTEN_MS
    const record: NewRecord = { name, doc: JSON.stringify(doc), ttl, as: 'open', webhook }
    const { state, fresh } = await jobs.store.records.create(record)
    const batch = batchOf(state)
    if (batch.doc.fingerprint !== asked.fingerprint)
      throw new EaselError('IDEMPOTENCY_KEY_REUSED', undefined, { field: 'idempotency-key' })
    runner.wake()
    return { batch, fresh }
  }

  /** @throws EaselError NOT_FOUND */
  async get(scope: string, id: string): Promise<Batch> {
    const state = await this.#parts.jobs.store.records.find({ kind: 'batch', scope, id })
    if (state === undefined) throw noBatch(id)
    return batchOf(state)
  }

  /** The newest first. @throws EaselError INVALID_REQUEST when `after` is gone */
  async list(scope: string, after: string | undefined, limit: number): Promise<{ batches: Batch[]; more: boolean }> {
    const page: Page = { after, limit: limit + 1, newestFirst: true }
    const states = await this.#parts.jobs.store.records.list('batch', scope, page)
    if (states === undefined) throw goneAfter()
    return { batches: states.slice(0, limit).map(batchOf), more: states.length > limit }
  }

  /** Ends a batch, unless it has ended. @throws EaselError NOT_FOUND */
  async cancel(scope: string, id: string): Promise<Batch> {
    const { jobs, runner } = this.#parts
    const state = await jobs.store.records.cancel({ kind: 'batch', scope, id })
    if (state === undefined) throw noBatch(id)
    runner.look(id)
    return batchOf(state)
  }

  /** Forgets a file, and the jobs whose results it has. @throws EaselError NOT_FOUND */
  async removeFile(scope: string, id: string): Promise<void> {
    const { files, results } = this.#parts
    const { name, doc } = await files.get(scope, id)
    if (doc.purpose === 'batch_output') {
      const batch = await this.get(scope, doc.batch).catch(() => undefined)
      if (batch !== undefined) await results.forget(batch, doc.which)
    }
    await files.remove(name)
  }
}

function newId(): string {
  return `batch_${randomBytes(12).toString('hex')}`
}

function idOfKey(scope: string, key: string): string {
  return `batch_${createHash('sha256')
    .update(JSON.stringify([scope, key]))
    .digest('hex')
    .slice(0, 24)}`
}

function aboutFile(code: 'INVALID_REQUEST' | 'LIMIT_EXCEEDED' | 'NOT_FOUND', message: string): EaselError {
  return new EaselError(code, message, { field: 'input_file_id' })
}

function aboutInput(error: unknown): never {
  throw error instanceof EaselError && error.code === 'NOT_FOUND' ? aboutFile('NOT_FOUND', error.message) : error
}

function noBatch(id: string): EaselError {
  return new EaselError('NOT_FOUND', `there is no batch ${JSON.stringify(excerpt(id))}; GET /v1/batches lists yours`)
}
