import { EaselError } from '../errors.js'
import { elsewhere } from '../jobs/files.js'
import type { Jobs } from '../jobs/jobs.js'
import { isEnd, type JobName, type JobState } from '../jobs/store.js'
import type { JobFailure, Made, Outcome } from '../jobs/submission.js'
import { type Batch, derivedId, jobOf, type KeptLine, linePart, refusalPart } from './batch.js'
import type { OutputFile } from './files.js'
import type { AnswerPiece, Endpoint } from './requests.js'

/** A line of a batch's results, and which file it is in. */
interface Result {
  readonly which: OutputFile['which']
  readonly about: { readonly id: string; readonly custom_id: string }
  readonly pieces: readonly AnswerPiece[]
  /** What its pieces refer to. */
  readonly made?: Made
}

/** Lines that are looked up at a time. */
const GROUP = 8

/** Bytes of a file before base64. A multiple of three, so that slices need no padding between them. */
const SLICE_BYTES = 48 * 1024

/** How somebody reads results. */
export interface Reading {
  /** What URLs of the gateway's own begin with. */
  readonly absolute: (url: string) => string
  /** Fires when the reader has left. */
  readonly left: AbortSignal
}

/** The results of batches, read from their jobs: nothing of them is stored twice. */
export class BatchResults {
  readonly #jobs: Jobs
  readonly #endpoint: Endpoint

  constructor(jobs: Jobs, endpoint: Endpoint) {
    this.#jobs = jobs
    this.#endpoint = endpoint
  }

  /** One line for each result of a batch, in the order of its lines, as it is read. */
  async *content(batch: Batch, which: OutputFile['which'], reading: Reading): AsyncGenerator<Buffer> {
    for await (const group of this.#groups(batch))
      for (const { line, job, state, refusal } of group) {
        const result = this.#resultOf(batch, line, await this.#lineAt(batch, line), state, refusal)
        if (result?.which === which) yield* this.#bytesOf(result, job, reading)
      }
  }

  /**
   * Ends what is left of a batch, and looks at what all of its lines became.
   *
   * @param until when its jobs are forgotten, in ms since 1970
   * @param cancel ends a job that has not ended
   */
  async settle(
    batch: Batch,
    until: number,
    cancel: (name: JobName) => Promise<JobState | undefined>
  ): Promise<{ completed: number; failed: number; largest: number; bytes: Record<OutputFile['which'], number> }> {
    const sum = { completed: 0, failed: 0, largest: 0, bytes: { output: 0, error: 0 } }
    for await (const group of this.#groups(batch, cancel)) {
      for (const { line, state, refusal } of group) {
        const result = this.#resultOf(batch, line, await this.#lineAt(batch, line), state, refusal)
        if (result === undefined) continue
        sum[result.which === 'output' ? 'completed' : 'failed'] += 1
        sum.bytes[result.which] += sizeOf(result)
        for (const { bytes } of result.made?.images ?? []) sum.largest = Math.max(sum.largest, bytes)
      }
      await this.#jobs.store.retain(
        group.map(({ job }) => job),
        until
      )
    }
    return sum
  }

  /** Forgets the jobs whose results are in a file. */
  async forget(batch: Batch, which: OutputFile['which']): Promise<void> {
    for await (const group of this.#groups(batch))
      for (const { job, state } of group)
        if (state !== undefined && (state.status === 'succeeded') === (which === 'output'))
          await this.#jobs.store.remove(job)
    this.#jobs.files?.clean()
  }

  async *#groups(batch: Batch, cancel?: (name: JobName) => Promise<JobState | undefined>) {
    const { store } = this.#jobs
    const { total, submitted } = batch.doc
    for (let from = 0; from < total; from += GROUP)
      yield await Promise.all(
        Array.from({ length: Math.min(GROUP, total - from) }, async (_, index) => {
          const line = from + index
          const job = jobOf(batch.name, line)
          let state = line < submitted ? await store.find(job) : undefined
          if (state !== undefined && !isEnd(state.status)) state = await cancel?.(job)
          const refusal =
            state === undefined && line < submitted
              ? await store.records.read(batch.name, refusalPart(line))
              : undefined
          return { line, job, state, refusal }
        })
      )
  }

  async #lineAt(batch: Batch, line: number): Promise<KeptLine> {
    const kept = await this.#jobs.store.records.read(batch.name, linePart(line))
    if (kept === undefined) throw new EaselError('NOT_FOUND', 'the batch is no longer kept (JOB_TTL)')
    return JSON.parse(kept.toString()) as KeptLine
  }

  /** Undefined for a line whose job was deleted. */
  #resultOf(
    { name, doc }: Batch,
    line: number,
    { custom_id, body }: KeptLine,
    state: JobState | undefined,
    refusal: Buffer | undefined
  ): Result | undefined {
    const endpoint = this.#endpoint
    const about = { id: derivedId(name, 'batch_req_', `request ${line}`), custom_id }
    const head = (status: number) =>
      `${JSON.stringify(about).slice(0, -1)},"response":{"status_code":${status},"request_id":${JSON.stringify(jobOf(name, line).id)},"body":`
    const failed = ({ code, message, field }: JobFailure): Result => {
      const error = new EaselError(code, message, field === undefined ? {} : { field })
      const text = JSON.stringify(endpoint.errorBody(error))
      return { which: 'error', about, pieces: [`${head(error.statusCode)}${text}},"error":null}\n`] }
    }
    const outcome = state?.outcome === undefined ? undefined : (JSON.parse(state.outcome) as Outcome)
    if (outcome !== undefined && 'made' in outcome) {
      const answer = endpoint.answer(body, outcome.made, state!.endedAt!)
      return {
        which: 'output',
        about,
        pieces: [head(200), ...answer, '},"error":null}\n'],
        made: outcome.made
      }
    }
    const given = GIVEN_UP[doc.end ?? 'completed']
    const unmade = outcome === undefined ? line >= doc.submitted : CUT_SHORT.has(outcome.error.code)
    if (given !== undefined && unmade)
      return {
        which: 'error',
        about,
        pieces: [`${JSON.stringify({ ...about, response: null, error: given })}\n`]
      }
    if (outcome !== undefined) return failed(outcome.error)
    return refusal === undefined ? undefined : failed(JSON.parse(refusal.toString()) as JobFailure)
  }

  async *#bytesOf({ about, pieces, made }: Result, job: JobName, { absolute, left }: Reading): AsyncGenerator<Buffer> {
    let urls: readonly string[] | undefined
    // Before anything of the line is sent, since the store of images may have deleted it by rules of its own.
    const first = pieces.find((piece) => typeof piece !== 'string' && 'file' in piece)
    let ahead = first === undefined ? undefined : await this.#jobs.image(job, made!, 0, left)
    if (first !== undefined && ahead === undefined) {
      yield Buffer.from(`${JSON.stringify({ ...about, response: null, error: GONE })}\n`)
      return
    }
    for (const piece of pieces) {
      if (typeof piece === 'string') yield Buffer.from(piece)
      else if ('url' in piece) {
        urls ??= await this.#jobs.files?.urls(made!.stored!)
        if (urls === undefined) throw elsewhere()
        yield Buffer.from(JSON.stringify(absolute(urls[piece.url]!)).slice(1, -1))
      } else {
        const file = ahead ?? (await this.#jobs.image(job, made!, piece.file, left))
        ahead = undefined
        if (file === undefined) throw new EaselError('NOT_FOUND', 'an image of the batch is no longer kept')
        for (let at = 0; at < file.length; at += SLICE_BYTES)
          yield Buffer.from(file.subarray(at, at + SLICE_BYTES).toString('base64'), 'latin1')
      }
    }
  }
}

/** What became of lines that a batch gave up. */
const GIVEN_UP = {
  completed: undefined,
  cancelled: { code: 'batch_cancelled', message: 'This request was not executed because the batch was cancelled.' },
  expired: {
    code: 'batch_expired',
    message: 'This request could not be executed before the completion window expired.'
  }
} as const

/** What is said of a line whose image is gone. */
const GONE = {
  code: 'image_gone',
  message: 'The image was made, but the place where the server keeps images no longer has it.'
}

/** Codes of jobs that were cut short. */
const CUT_SHORT: ReadonlySet<string> = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'DEADLINE_UNREACHABLE'])

/** Bytes of a line; a URL that is made only when it is read counts as none. */
function sizeOf({ pieces, made }: Result): number {
  return pieces.reduce((sum, piece) => {
    if (typeof piece === 'string') return sum + Buffer.byteLength(piece)
    return sum + ('url' in piece ? 0 : Math.ceil(made!.images[piece.file]!.bytes / 3) * 4)
  }, 0)
}
