import { createHash, randomInt, randomUUID } from 'node:crypto'
import { EaselError } from '../errors.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Caller } from '../service/caller.js'
import type { Plan } from '../service/planner.js'
import { NOT_READY_RETRY_SECONDS } from '../service/failures.js'
import type { ImageService } from '../service/service.js'
import { shareOf } from '../service/share.js'
import { elsewhere, type JobFileStore } from './files.js'
import { failureOf, type About, type Made, type Submission } from './submission.js'
import type { Webhook } from './webhooks.js'
import { bytesOf, type JobName, type JobPicture, type JobState, type JobStore, type NewJob } from './store.js'

export interface JobsOptions {
  store: JobStore
  /** Where images are, if not in the store. */
  files: JobFileStore | undefined
  service: ImageService
  /** ms from its submission after which a job expires; clients can only ask for less */
  timeout: number
  /** ms for which gateways remember together what an Idempotency-Key was first used for */
  keyTtl: number
  /** Says where the ends of jobs may be told. */
  webhooks: { accept: (text: string, scope: string) => URL }
  observer: JobsObserver
}

export interface JobsObserver {
  /** A job was submitted that is new, or known by its name. */
  submitted: (how: 'new' | 'known') => void
}

/** How a client names a job that it submits. */
export interface SubmittedAs {
  /** The id that it chose. */
  readonly id?: string | undefined
  /** Its Idempotency-Key, which names a job as well as an id does. */
  readonly key?: string | undefined
  /** `fingerprintOfRequest` its body. */
  readonly fingerprint: string
  /** ms from now for which it is kept at least. */
  readonly keep?: number | undefined
}

/** Bytes of an image's file beyond its pixels: what a format adds to pixels that do not compress, and the recipe. */
const FILE_BYTES = 16 * 1024

/** Images of a request that says no size, before any worker has said what it makes: SDXL's. */
const USUAL_SIDE = 1024
const USUAL_STEPS = 30

/** Durable jobs: requests that are made later, by any gateway of the store. Independent of HTTP. */
export class Jobs {
  readonly store: JobStore
  /** Where images are, if not in the store. */
  readonly files: JobFileStore | undefined
  /** ms from its submission after which a job expires. */
  readonly timeout: number
  readonly #options: JobsOptions

  /** ms for which gateways remember together what an Idempotency-Key was first used for. */
  readonly keyTtl: number

  constructor(options: JobsOptions) {
    this.keyTtl = options.keyTtl
    this.store = options.store
    this.files = options.files
    this.timeout = options.timeout
    this.#options = options
  }

  /**
   * Submits a job, or finds the one of the same name and body.
   *
   * @param request with the pictures' digests
   * @throws EaselError when it is refused: WEBHOOK_NOT_ALLOWED, JOB_EXISTS or IDEMPOTENCY_KEY_REUSED for another body, what is wrong with the
   *   request as far as it is known, JOBS_FULL, JOB_STORE_UNAVAILABLE, DRAINING
   */
  async submit(
    asked: GenerateRequest,
    caller: Caller,
    pictures: readonly JobPicture[],
    as: SubmittedAs
  ): Promise<{ name: JobName; state: JobState; fresh: boolean }> {
    const { store, service, observer } = this.#options
    if (service.draining) throw new EaselError('DRAINING', undefined, { retryAfter: NOT_READY_RETRY_SECONDS })
    const { key, fingerprint } = as
    const job = this.#jobOf(asked, caller, pictures, as)
    const { name } = job
    const { state, fresh } = await store.submit(job)
    if (state.fingerprint !== fingerprint)
      throw key === undefined
        ? new EaselError('JOB_EXISTS', undefined, { field: 'id' })
        : new EaselError('IDEMPOTENCY_KEY_REUSED', undefined, { field: 'idempotency-key' })
    observer.submitted(fresh ? 'new' : 'known')
    return { name, state, fresh }
  }

  /** Where an end is told, if a client says where. @throws EaselError WEBHOOK_NOT_ALLOWED or INVALID_REQUEST */
  webhookTo(text: string | undefined, scope: string): Webhook | undefined {
    const url = text === undefined ? undefined : this.#options.webhooks.accept(text, scope)
    return url && { id: `msg_${randomUUID()}`, url: url.href, host: url.host }
  }

  /** The most bytes that a job of this request takes. @throws EaselError what is wrong with it, as far as it is known */
  weigh(asked: GenerateRequest, caller: Caller): number {
    const job = this.#jobOf(asked, caller, [], { fingerprint: '' })
    return bytesOf(job) + job.reserve
  }

  #jobOf(
    asked: GenerateRequest,
    caller: Caller,
    pictures: readonly JobPicture[],
    { id, key, fingerprint, keep }: SubmittedAs
  ): NewJob {
    const { files, service, timeout } = this.#options
    const name = { scope: caller.scope, id: id ?? (key === undefined ? randomUUID() : idOfKey(key)) }
    // Its deadline is the job's, from now on, and nobody sees previews.
    const { timeout: limit = Infinity, webhook, preview_interval: _, ...rest } = asked
    const told = this.webhookTo(webhook, caller.scope)
    const request: GenerateRequest = { ...rest, seed: rest.seed ?? randomInt(2 ** 32) }
    const { weight = 1, priority } = shareOf(request, caller)
    const plan = pictures.length === 0 ? service.foresee(request, caller) : undefined
    // The model must exist, also where the rest of a request with pictures is known only once they are decoded.
    if (plan === undefined) service.offerOf(request.model)
    const { batchOnly, concurrency, trace } = caller
    const submission: Submission = {
      request,
      folder: randomUUID(),
      caller: { weight, batchOnly, concurrency, trace }
    }
    const about: About = {
      seed: request.seed!,
      images: request.num_images ?? 1,
      model: request.model ?? null,
      priority
    }
    const body = JSON.stringify(submission)
    const size = sizeOf(request, plan)
    const reserve = size.images * (size.width * size.height * 3 + FILE_BYTES + 2 * Buffer.byteLength(body))
    return {
      name,
      fingerprint,
      model: request.model ?? '',
      batch: priority === 'batch',
      weight,
      cost: costOf(request, size, plan),
      reserve: files === undefined ? reserve : 0,
      timeout: Math.min(timeout, limit * 1000, caller.timeout ?? Infinity),
      keep,
      body,
      about: JSON.stringify(about),
      pictures,
      webhook: told
    }
  }

  /** @throws EaselError NOT_FOUND */
  async get(name: JobName): Promise<JobState> {
    return this.#found(await this.store.find(name))
  }

  /** Cancels a job; forgets one that has ended. @throws EaselError NOT_FOUND */
  async remove(name: JobName): Promise<void> {
    if (await this.store.remove(name)) return this.files?.clean()
    const cancelled = failureOf(new EaselError('CANCELLED', 'the job was cancelled'))
    this.#found(await this.store.cancel(name, JSON.stringify(cancelled)))
  }

  /**
   * An image of a job that has succeeded; undefined if it is no longer kept.
   *
   * @param left fires when the caller no longer waits
   * @throws EaselError
   */
  async image(name: JobName, { stored, images }: Made, which: number, left: AbortSignal): Promise<Buffer | undefined> {
    const { index, bytes } = images[which]!
    if (stored === undefined) return this.store.images.read(name, index)
    if (this.files === undefined) throw elsewhere()
    return this.files.read(stored, which, bytes, left)
  }

  #found(state: JobState | undefined): JobState {
    if (state === undefined) throw new EaselError('NOT_FOUND', 'there is no such job; ended jobs are kept for JOB_TTL')
    return state
  }
}

/** Keys may have characters that paths may not. */
function idOfKey(key: string): string {
  return `key-${createHash('sha256').update(key).digest('hex').slice(0, 40)}`
}

function sizeOf({ width, height, num_images, hires }: GenerateRequest, plan: Plan | undefined): Plan['size'] {
  if (plan !== undefined) return plan.size
  return {
    width: hires?.width ?? width ?? USUAL_SIDE,
    height: hires?.height ?? height ?? USUAL_SIDE,
    images: num_images ?? 1
  }
}

/** What jobs weigh against each other: their steps, by their pixels. */
function costOf({ num_inference_steps: asked }: GenerateRequest, size: Plan['size'], plan: Plan | undefined): number {
  const steps = plan === undefined ? (asked ?? USUAL_STEPS) : plan.job.steps + (plan.second?.steps ?? 0)
  return (steps * size.images * size.width * size.height) / 1e6
}
