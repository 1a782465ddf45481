import { RECORD_BYTES, type Records } from './records.js'
import type { SharedState } from './shared.js'
import { type Webhook, type Webhooks, webhookText } from './webhooks.js'

/** What a durable job can be. The last four are ends: a job has exactly one, and keeps it. */
export const JOB_STATUSES = ['queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired'] as const
export type JobStatus = (typeof JOB_STATUSES)[number]
export type JobEnd = Exclude<JobStatus, 'queued' | 'running'>

export function isEnd(status: JobStatus): status is JobEnd {
  return status !== 'queued' && status !== 'running'
}

/** A job's name. Equal ids of different callers are different jobs. */
export interface JobName {
  /** The name of the caller's access key; empty without keys. */
  readonly scope: string
  readonly id: string
}

/** A file that a job's images start from. */
export interface JobPicture {
  readonly field: string
  readonly bytes: number
  readonly read: () => Promise<Buffer>
}

/** A job as it is submitted. Nothing of it changes afterwards. */
export interface NewJob {
  readonly name: JobName
  /** What the same submission has in common: a submission under the same name with another one is refused. */
  readonly fingerprint: string
  /** The model that it names; empty for the default one. Only gateways that have it ready claim the job. */
  readonly model: string
  readonly batch: boolean
  /** Its caller's weight beside other callers. */
  readonly weight: number
  /** What it probably costs, in any unit that all jobs share. */
  readonly cost: number
  /** Most bytes that its images will take. */
  readonly reserve: number
  /** ms from now, after which it has expired unless it has ended. */
  readonly timeout: number
  /** ms from now for which it is kept at least, also if it ends early; `retain` shortens that. */
  readonly keep?: number | undefined
  /** JSON, for whoever makes it. */
  readonly body: string
  /** JSON, for whoever looks at it. */
  readonly about: string
  readonly pictures: readonly JobPicture[]
  readonly webhook: Webhook | undefined
}

/** What everybody who may see a job sees of it. Times are in ms since 1970, by the store's clock. */
export interface JobState {
  /** Grows with every change. */
  readonly revision: number
  readonly status: JobStatus
  readonly fingerprint: string
  readonly about: string
  readonly submittedAt: number
  readonly deadline: number
  /** When a gateway last began it. */
  readonly startedAt: number | undefined
  readonly endedAt: number | undefined
  /** From when an ended job is kept as long as the bounds say: from its end, unless another time was said. */
  readonly keptFrom: number | undefined
  /** How many gateways died, or lost the store, while they made it. */
  readonly crashes: number
  /** JSON, of the attempt in progress. */
  readonly progress: string | undefined
  /** JSON, of its end. */
  readonly outcome: string | undefined
}

/** A job that a gateway makes, until its claim ends or is lost. */
export interface Claim {
  readonly name: JobName
  /** Tells this claim from earlier and later ones of the job. */
  readonly attempt: number
  readonly body: string
  readonly pictures: readonly JobPicture[]
  /** Images that whoever had the job before could not finish. */
  readonly halfDone: readonly StoredHalf[]
  /** ms until its deadline. */
  readonly remaining: number
}

/** An image of a job that a gateway could not finish before it left. */
export interface HalfDone {
  /** JSON, for the gateway that goes on with it. */
  readonly about: string
  readonly bytes: Buffer
}

/** The same in its store. */
export interface StoredHalf {
  readonly about: string
  /** Undefined if it is gone. */
  readonly read: () => Promise<Buffer | undefined>
}

/**
 * Keeps what gateways that leave could not finish, as part of their jobs' bytes. It goes to whoever claims the job next, and
 * away when the job ends, when its next claim ends without blame and says so, or at once when that one is lost.
 */
export interface JobHalves {
  /**
   * @param first whether it takes the place of all that the job had before
   * @returns false if the claim is lost
   * @throws EaselError JOBS_FULL
   */
  save: (claim: Claim, half: HalfDone, first: boolean) => Promise<boolean>
}

export interface JobBounds {
  /** Most jobs, whatever their status. */
  readonly jobs: number
  /** Most bytes of jobs, their pictures and their images. */
  readonly bytes: number
  /** ms for which an ended job is kept. */
  readonly keep: number
  /** ms without a heartbeat after which a claim is taken back. */
  readonly lease: number
}

/** Files of a job's images outside the job store. */
export interface JobFiles {
  /** What keeps them. */
  readonly at: string
  /** What the names of all of them begin with. */
  readonly folder: string
  /** Their names in it, by image. */
  readonly files: readonly string[]
}

/** Files that no job has any more. */
export interface LeftOver {
  readonly files: readonly JobFiles[]
  /** Of how many jobs the files will not be deleted. */
  readonly givenUp: number
}

/** How many jobs there are by status, and their bytes, when the store was last looked at. */
export interface JobCounts {
  readonly queued: number
  readonly running: number
  readonly ended: number
  readonly bytes: number
}

export const NO_JOBS: JobCounts = { queued: 0, running: 0, ended: 0, bytes: 0 }

/** The images that a job store itself keeps. Others are in files of `JobFiles`. */
export interface JobImages {
  /** Keeps a job's image. Made twice, it has the same bytes, so writing it again changes nothing. */
  save: (claim: Claim, index: number, bytes: Buffer) => Promise<void>
  /** Undefined if it is not there. */
  read: (name: JobName, index: number) => Promise<Buffer | undefined>
}

/** @param name the job that changed; undefined when any may have @param waits whether it now waits for a gateway */
export type ChangeListener = (name: JobName | undefined, waits: boolean) => void

/**
 * Keeps jobs. Every operation is atomic: of several gateways that do the same at once, one does it. Each throws EaselError
 * JOB_STORE_UNAVAILABLE when the store does not answer; it may have been done then, and doing it again is safe.
 */
export interface JobStore {
  readonly kind: 'memory' | 'valkey'
  /** Whether the store answered last. */
  readonly available: boolean
  readonly bounds: JobBounds
  readonly counts: JobCounts
  readonly images: JobImages
  /** Undefined for a store that ends with its gateway. */
  readonly halves: JobHalves | undefined
  readonly webhooks: Webhooks
  /** What is kept beside the jobs. */
  readonly records: Records
  /** What its gateways know together; undefined for a store of one gateway. */
  readonly shared: SharedState | undefined
  /**
   * Adds a job, unless one of its name exists.
   *
   * @returns the job of that name, which the caller compares by its fingerprint, and whether it is new
   * @throws EaselError JOBS_FULL; LIMIT_EXCEEDED for a job that never fits
   */
  submit: (job: NewJob) => Promise<{ state: JobState; fresh: boolean }>
  find: (name: JobName) => Promise<JobState | undefined>
  /** Ends a job as cancelled, unless it has ended. Undefined if there is none. */
  cancel: (name: JobName, outcome: string) => Promise<JobState | undefined>
  /** Forgets an ended job and its images. False if there is none, or it has not ended. */
  remove: (name: JobName) => Promise<boolean>
  /** Keeps ended jobs until a time, in ms since 1970, instead of what was said at their submission and by the bounds. */
  retain: (names: readonly JobName[], until: number) => Promise<void>
  /**
   * Claims the next job of these models: the flow (a caller's jobs of one class) that has had the least for its weight
   * comes first. Undefined if none waits, or there is no room for the images of those that wait.
   *
   * @param owner the gateway
   * @param busy scopes whose jobs stay where they are
   */
  claim: (owner: string, models: readonly string[], busy: readonly string[]) => Promise<Claim | undefined>
  /** Renews claims. Returns those that are no longer the caller's. */
  renew: (claims: readonly Claim[]) => Promise<readonly Claim[]>
  /** Says how far a job is. Does nothing if the claim is lost. */
  progress: (claim: Claim, progress: string) => Promise<void>
  /**
   * Returns a job to the front of its flow. Does nothing if the claim is lost.
   *
   * @param withHalves whether its half-done images are still good
   */
  giveBack: (claim: Claim, withHalves: boolean) => Promise<void>
  /**
   * Ends a job. Only the first end counts.
   *
   * @returns whether the job's end is this claim's
   */
  end: (claim: Claim, end: JobEnd, outcome: string) => Promise<boolean>
  /**
   * Remembers in which files the images of a job will be, before they are written.
   *
   * @returns false if the claim is lost
   */
  keepIn: (claim: Claim, files: JobFiles) => Promise<boolean>
  /**
   * Says that whoever made a job, and was told by `keepIn` that it may write these files, did not end it. They are left over,
   * unless the job has them still.
   */
  leave: (claim: Claim, files: JobFiles) => Promise<void>
  /**
   * Files of this place that belong to no job any more: of jobs that were forgotten, or ended without images. Each is given to one
   * gateway at a time, and again later unless it says that they are deleted. There are at most as many as `bounds.jobs`
   * has jobs; beyond that the oldest are given up, and one gateway is told how many since it last was.
   */
  leftOver: (at: string) => Promise<LeftOver>
  /** Says that they are deleted. */
  deleted: (files: JobFiles) => Promise<void>
  /**
   * Takes back the jobs of gateways that no longer renew them, ends those that were lost twice or whose deadline has
   * passed, forgets those that ended long ago and expired records, and looks at the counts.
   */
  tend: (outcomes: Readonly<Record<'crashed' | 'expired', string>>) => Promise<void>
  /** Calls `listener` at each change until the returned function is called. */
  onChange: (listener: ChangeListener) => () => void
  close: () => Promise<void>
}

/**
 * ms after the end of a job that has no images, after which its files are left over: whoever made it may still be writing
 * one until then.
 */
export const SETTLE_MS = 90_000

/** ms after which files that were given to a gateway are given again. */
export const DELETE_AGAIN_MS = 120_000

/** Most jobs whose files are given to a gateway at once. */
export const MOST_LEFT_OVER = 20

/** How often a job may be lost with its gateway before it fails, as for workers (ADR 2). */
export const MAX_CRASHES = 2

/** The share of the bounds that the jobs of one key may take, so that no key fills the store alone. */
export const KEY_SHARE = 0.5

/** A batch job counts as one of a caller with a third of the weight (docs/fair-shares.md). */
export const BATCH_WEIGHT = 1 / 3

/** Bytes that a job takes before it is claimed. */
export function bytesOf({
  body,
  about,
  pictures,
  webhook
}: Pick<NewJob, 'body' | 'about' | 'pictures' | 'webhook'>): number {
  const files = pictures.reduce((sum, { bytes }) => sum + bytes, 0)
  return RECORD_BYTES + Buffer.byteLength(body + about + webhookText(webhook)) + files
}

/** The most of a bound that jobs of this scope may take. Without keys there is one caller, who may take all. */
export function shareOf(bound: number, scope: string): number {
  return scope === '' ? bound : Math.max(1, Math.floor(bound * KEY_SHARE))
}
