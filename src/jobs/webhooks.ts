import type { RecordName, RecordState } from './records.js'
import type { JobName, JobState } from './store.js'

/** Where the end of a job or record is told. */
export interface Webhook {
  /** Of the message: stays the same however often, and by whichever gateway, it is sent. */
  readonly id: string
  readonly url: string
  /** Of the URL: messages to one host wait for each other. */
  readonly host: string
}

/** An end that a gateway tells, until it settles that or its lease ends. */
export type Telling = Told & {
  /** Tells this telling from earlier and later ones. */
  readonly token: string
  readonly webhook: Webhook
  /** Attempts that failed. */
  readonly failures: number
  /** ms until the job or record is forgotten, and this with it. */
  readonly remaining: number
}

/** What has ended. */
export type Told =
  | { readonly kind: 'job'; readonly name: JobName; readonly state: JobState }
  | { readonly kind: 'record'; readonly name: RecordName; readonly state: RecordState }

/** What claims of ends to tell leave out. */
export interface Busy {
  readonly scopes: readonly string[]
  /** Hosts of a scope. */
  readonly hosts: readonly { readonly scope: string; readonly host: string }[]
}

/**
 * Ends of jobs and records that have a webhook: each waits here, from the moment it is set, until it is told or what has ended
 * is forgotten.
 */
export interface Webhooks {
  /** How many wait, when the store was last looked at. */
  readonly waiting: number
  /**
   * Claims an end that is due. Undefined if there is none.
   *
   * @param token a new one
   * @param lease ms after which it is due again unless it is settled
   */
  claim: (token: string, lease: number, busy: Busy) => Promise<Telling | undefined>
  /**
   * Says what became of a telling. Does nothing if its lease has ended and another one began.
   *
   * @param again ms until it is due again; undefined if never
   * @param failures attempts that failed until now
   */
  settle: (telling: Telling, again: number | undefined, failures: number) => Promise<void>
}

/** A webhook as stores keep it. */
export function webhookText(webhook: Webhook | undefined): string {
  return webhook === undefined ? '' : JSON.stringify(webhook)
}
