import { type Webhook, webhookText } from './webhooks.js'

/** What a record is: a client's file, or a batch of requests. */
export type RecordKind = 'file' | 'batch'

export interface RecordName {
  readonly kind: RecordKind
  /** The name of its owner's access key; empty without keys. */
  readonly scope: string
  readonly id: string
}

/** A record as it is created. */
export interface NewRecord {
  readonly name: RecordName
  /** JSON. */
  readonly doc: string
  /** ms after which it is forgotten with its parts. */
  readonly ttl: number
  /** What others see of it: nothing yet, the record, or the record and that somebody has to work on it. */
  readonly as: 'hidden' | 'shown' | 'open'
  /** Whether it is taken whatever the store holds already. For what the store needs to end something. */
  readonly always?: boolean
  /** Where its end is told, of one that is open. */
  readonly webhook?: Webhook | undefined
}

/** Times are in ms since 1970, by the store's clock. */
export interface RecordState {
  readonly name: RecordName
  readonly doc: string
  readonly createdAt: number
  readonly expiresAt: number
  /** When its owner asked for its end. */
  readonly cancelledAt: number | undefined
}

/** An open record that a gateway works on, until the claim ends or is lost. */
export interface RecordClaim {
  readonly name: RecordName
  /** Tells this claim from earlier and later ones. */
  readonly attempt: number
  readonly state: RecordState
}

/** Which records to list. */
export interface Page {
  /** The id after which the page begins. */
  readonly after?: string | undefined
  readonly limit: number
  readonly newestFirst: boolean
}

export interface RecordCounts {
  /** Records somebody has to work on. */
  readonly open: number
  readonly all: number
}

export const NO_RECORDS: RecordCounts = { open: 0, all: 0 }

/** Bytes of a job or a record besides what it holds. */
export const RECORD_BYTES = 2048

/** Bytes of a part besides its own. */
export const PART_BYTES = 64

/** Open records that one scope may have. */
export const MOST_OPEN = 100

/** ms for which a record that nobody sees yet is kept after its last part came. */
export const HIDDEN_MS = 60_000

/**
 * Records beside the jobs of a store, in the same bounds of bytes: JSON with an expiry, and parts of bytes. Each operation
 * is atomic, and throws EaselError JOB_STORE_UNAVAILABLE when the store does not answer; doing it again is safe.
 */
export interface Records {
  /** As of the last `tend`. */
  readonly counts: RecordCounts
  /**
   * Adds a record, unless one of its name exists.
   *
   * @throws EaselError JOBS_FULL, also if the scope has MOST_OPEN open ones
   */
  create: (record: NewRecord) => Promise<{ state: RecordState; fresh: boolean }>
  /**
   * Writes parts of a hidden record, or of one that is claimed.
   *
   * @returns false if the record is gone, or the claim lost
   * @throws EaselError JOBS_FULL
   */
  write: (of: RecordName | RecordClaim, parts: ReadonlyMap<string, Buffer>) => Promise<boolean>
  /** Shows a hidden record. Undefined if it is gone. @param ttl ms after its creation at which it is forgotten */
  publish: (name: RecordName, doc: string, ttl: number) => Promise<RecordState | undefined>
  /** Undefined if there is no such part. */
  read: (name: RecordName, part: string) => Promise<Buffer | undefined>
  /** Undefined if there is none, or it is hidden. */
  find: (name: RecordName) => Promise<RecordState | undefined>
  /** Records by their creation. Undefined if that of `after` is gone. */
  list: (kind: RecordKind, scope: string, page: Page) => Promise<readonly RecordState[] | undefined>
  /** Forgets a record. False if there is none, or it is open. */
  remove: (name: RecordName) => Promise<boolean>
  /** Notes that its owner wants an open record to end. Undefined if there is none; does nothing if it is not open. */
  cancel: (name: RecordName) => Promise<RecordState | undefined>
  /**
   * Claims an open record that nobody has: of the scope that has the fewest claimed, the oldest.
   *
   * @param busy scopes whose records stay where they are
   */
  claim: (busy: readonly string[]) => Promise<RecordClaim | undefined>
  /**
   * Writes what a claimed record is now, and renews the claim.
   *
   * @param closed ms after which the record, which is no longer open, is forgotten. Its end is to be told from then on
   * @returns undefined if the claim is lost
   */
  update: (claim: RecordClaim, doc: string, closed?: number) => Promise<RecordState | undefined>
  /** Lets others claim it. Does nothing if the claim is lost. */
  release: (claim: RecordClaim) => Promise<void>
  /** Forgets what has expired, and counts. */
  tend: () => Promise<void>
}

/** Bytes of a record without its parts. */
export function recordBytes(doc: string, webhook: Webhook | undefined): number {
  return RECORD_BYTES + Buffer.byteLength(doc + webhookText(webhook))
}

export function isClaim(of: RecordName | RecordClaim): of is RecordClaim {
  return 'attempt' in of
}
