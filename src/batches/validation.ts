import { createHash } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { EaselError } from '../errors.js'
import type { Jobs } from '../jobs/jobs.js'
import { shareOf } from '../jobs/store.js'
import { type Batch, type KeptLine, linePart } from './batch.js'
import type { Files } from './files.js'
import { type LineError, linesOf, readRequest } from './lines.js'
import type { Endpoint } from './requests.js'

/** Most requests of a batch, as in OpenAI's API. */
export const MAX_LINES = 50_000

/** Errors of a batch that are told. */
const MOST_ERRORS = 50

/** Lines, and bytes of them, that are written to the store at a time. */
const GROUP = 64
const GROUP_BYTES = 256 * 1024

/** ms after which others get their turn. */
const TURN_MS = 5

export interface Validation {
  readonly total: number
  /** At most MOST_ERRORS. A batch with any does not begin. */
  readonly errors: readonly LineError[]
}

export interface ValidationParts {
  jobs: Jobs
  files: Files
  endpoint: Endpoint
  /** Keeps lines with the batch. */
  write: (parts: ReadonlyMap<string, Buffer>) => Promise<void>
  /** Called now and then. Throws to stop. */
  goOn: () => void
}

/** Most lines of a batch of this scope, and the option that says so. */
export function mostLines({ store }: Jobs, scope: string): { most: number; name: string } {
  const share = shareOf(store.bounds.jobs, scope)
  return share < MAX_LINES
    ? { most: share, name: scope === '' ? 'JOB_LIMIT' : 'half of JOB_LIMIT' }
    : { most: MAX_LINES, name: 'the limit of the API' }
}

/**
 * Checks the lines of a batch's file, and keeps them with the batch. What it has is then independent of the file.
 *
 * @throws EaselError of the store
 */
export async function validate(batch: Batch, parts: ValidationParts): Promise<Validation> {
  const { jobs, files, endpoint, write, goOn } = parts
  goOn()
  const { name, doc } = batch
  const { scope } = name
  const errors: LineError[] = []
  const wrong = (error: LineError) => {
    if (errors.length < MOST_ERRORS) errors.push(error)
  }
  const ofFile = (code: string, message: string, param: string | null = null) =>
    wrong({ code, message, param, line: null })
  const file = await files.get(scope, doc.input).catch((error: unknown) => {
    if (error instanceof EaselError && error.code === 'NOT_FOUND') return undefined
    throw error
  })
  if (file?.doc.purpose !== 'batch') {
    ofFile('invalid_file', `The file ${doc.input} is gone: send it again`, 'input_file_id')
    return { total: 0, errors }
  }
  const limit = mostLines(jobs, scope)
  const most = shareOf(jobs.store.bounds.bytes, scope)
  const caller = { id: name.id, scope, ...doc.caller }
  const ids = new Set<string>()
  let pending = new Map<string, Buffer>()
  let [total, pendingBytes, bytes, turnAt] = [0, 0, 0, performance.now() + TURN_MS]
  const flush = async () => {
    if (pending.size > 0 && errors.length === 0) await write(pending)
    pending = new Map()
    pendingBytes = 0
  }
  for await (const line of linesOf(files.read({ name: file.name, doc: file.doc }), endpoint.mostBytes)) {
    total += 1
    if (total > limit.most) break
    if (performance.now() > turnAt) {
      await turn()
      goOn()
      turnAt = performance.now() + TURN_MS
    }
    const read = readRequest(line, doc.endpoint, endpoint.mostBytes)
    if ('error' in read) {
      wrong(read.error)
      continue
    }
    // A digest takes the same memory for each.
    const id = createHash('sha256').update(read.custom_id).digest('base64url')
    if (ids.has(id))
      wrong({
        code: 'duplicate_custom_id',
        message: 'The custom_id is that of an earlier line: give each line its own',
        param: 'custom_id',
        line: line.number
      })
    ids.add(id)
    try {
      endpoint.check(read.body)
      const { request } = endpoint.requestOf(read.body)
      bytes += jobs.weigh({ ...request, priority: 'batch' }, caller)
      if (bytes > most) break
    } catch (error) {
      if (!(error instanceof EaselError) || error.statusCode >= 500) throw error
      const param = endpoint.paramOf(error)
      wrong({
        code: error.code,
        message: error.message,
        param: param === null ? null : `body.${param}`,
        line: line.number
      })
      continue
    }
    const kept: KeptLine = read
    const part = Buffer.from(JSON.stringify(kept))
    pending.set(linePart(total - 1), part)
    pendingBytes += part.length
    if (pending.size >= GROUP || pendingBytes >= GROUP_BYTES) await flush()
  }
  await flush()
  if (total === 0) ofFile('empty_file', 'The file has no lines: put one request into each', 'input_file_id')
  if (total > limit.most) ofFile('LIMIT_EXCEEDED', tooManyLines(limit))
  else if (bytes > most)
    ofFile(
      'LIMIT_EXCEEDED',
      `The images of the first ${total} lines alone may take more than the ${most} bytes of the job store (${scope === '' ? '' : 'half of '}JOB_BYTES): make smaller batches, or fewer or smaller images`
    )
  return { total: Math.min(total, limit.most), errors }
}

export function tooManyLines({ most, name }: ReturnType<typeof mostLines>): string {
  return `A batch may have ${most} lines at most (${name}): make several batches`
}
