import { createHash } from 'node:crypto'
import type { JobName } from '../jobs/store.js'
import type { RecordName, RecordState } from '../jobs/records.js'
import type { Submission } from '../jobs/submission.js'
import type { LineError } from './lines.js'

/** What a batch is while gateways work on it. The last four are ends. */
export type BatchStatus = 'validating' | 'in_progress' | 'finalizing' | 'failed' | 'completed' | 'expired' | 'cancelled'

/** How a batch ends whose lines were right. */
export type BatchEnd = 'completed' | 'expired' | 'cancelled'

/** A batch in its record. Times are in ms since 1970. */
export interface BatchDoc {
  readonly endpoint: string
  /** The id of the file with its requests. */
  readonly input: string
  readonly window: string
  readonly metadata: Readonly<Record<string, string>> | null
  /** ms for which its results are kept, if its client said that. */
  readonly resultTtl?: number | undefined
  /** What the same submission has in common. */
  readonly fingerprint: string
  /** What the caller's key said when the batch was created. */
  readonly caller: Submission['caller']
  readonly deadline: number
  status: BatchStatus
  /** How it will end, once it is finalizing. */
  end?: BatchEnd
  readonly times: { -readonly [status in BatchStatus]?: number }
  errors: readonly LineError[]
  total: number
  completed: number
  failed: number
  /** Lines that have become jobs, from the first. */
  submitted: number
  /** Bytes of its largest image. */
  largest: number
  output?: string
  error?: string
}

export interface Batch {
  readonly name: RecordName
  readonly doc: BatchDoc
  readonly createdAt: number
  readonly cancelledAt: number | undefined
}

export function batchOf({ name, doc, createdAt, cancelledAt }: RecordState): Batch {
  return { name, doc: JSON.parse(doc) as BatchDoc, createdAt, cancelledAt }
}

/** The job of a line, from 0. */
export function jobOf({ scope, id }: RecordName, line: number): JobName {
  return { scope, id: `${id}-${line}` }
}

/** The part of a batch's record that has a line, and the one that says why a line did not become a job. */
export const linePart = (line: number) => `l${line}`
export const refusalPart = (line: number) => `e${line}`

/** A line as its batch keeps it. */
export interface KeptLine {
  readonly custom_id: string
  readonly body: object
}

function digestOf({ scope, id }: RecordName, what: string): Buffer {
  return createHash('sha256')
    .update(JSON.stringify([scope, id, what]))
    .digest()
}

/** The seed of a line that says none: always the same, so that a line that is made twice has the same bytes. */
export function seedOf(batch: RecordName, line: number): number {
  return digestOf(batch, `seed ${line}`).readUInt32BE(0)
}

/** Names what follows from a batch, such as its files, always the same. */
export function derivedId(batch: RecordName, prefix: string, what: string): string {
  return `${prefix}${digestOf(batch, what).toString('hex').slice(0, 24)}`
}

/** What all gateways call the submission of a line, whatever they make of it. */
export function fingerprintOfLine(batch: RecordName, line: number): string {
  return digestOf(batch, `line ${line}`).toString('base64url')
}
