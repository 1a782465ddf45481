import { randomInt } from 'node:crypto'
import type { Job } from '../engine/job.js'
import { EaselError } from '../errors.js'
import type { MemoryBudget } from '../memory.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
import { Admission } from './admission.js'
import { wireOf } from './decisions.js'
import { MEMORY_RETRY_SECONDS, outcomeOf } from './failures.js'
import { IdempotencyStore, type RequestKey } from './idempotency.js'
import { RunsInFlight } from './in-flight.js'
import { Ledger, type Outcome } from './ledger.js'
import { Maker, type MakerObserver, type MakerOptions } from './maker.js'
import { type Offer, offerOf } from './offer.js'
import { once } from './once.js'
import { tokenizePrompts } from './prompts.js'
import { resolveRequest, seedsOf } from './resolve.js'
import { Run } from './run.js'
import { RunMemory } from './run-memory.js'
import { Shares } from './shares.js'
import { type ServiceStatus, statusOf } from './status.js'

export interface ServiceOptions extends MakerOptions {
  tokenizers: SdxlTokenizers
  memory: MemoryBudget
  /** Most requests that are accepted and not yet answered. */
  queueLimit: number
  /** ms that a request may take at most, whatever its client says */
  requestTimeout: number
  /** ms that a keyed request goes on for after its client has left */
  resumeWindow: number
  /** ms that the answer to a keyed request is kept for */
  idempotencyTtl: number
  /** Most bytes of such answers. */
  idempotencyBytes: number
  observer: ServiceObserver
}

/** What the service tells whoever measures it. */
export interface ServiceObserver extends MakerObserver {
  /** A request ended after so many seconds. */
  ended: (outcome: Outcome, seconds: number, scope: string) => void
  /** A keyed request was answered by a run that was there already. */
  repeated: (how: 'joined' | 'replayed') => void
}

/** Who asks, and how. */
export interface Caller {
  /** The name of the request; its client can cancel it by this name. */
  id: string
  /** Whose request it is; what callers of different scopes name alike is not the same. */
  scope: string
  key?: RequestKey | undefined
  /** ms that the client will wait, beside what the body says */
  timeout?: number | undefined
  /** The place in the client's trace, as a traceparent. */
  trace?: string | undefined
  /** Most requests of the scope that may be in flight. */
  concurrency?: number | undefined
}

/** A request that is on its way, or was before, and a client that waits for it. */
export interface Submitted {
  run: Run
  /** Whether the run begins with this request; or the client has joined it. */
  fresh: boolean
  /** True for the answer to an earlier request with the same key. */
  replayed: boolean
  /** To be called when the client has read its answer, or has left. */
  detach: () => void
}

/** Most clients of one run: those that joined it, and those that watch it. */
const MAX_CLIENTS = 32

/** From a request in words to files: checks, admission, tokens, the engine, the encoder. Knows no HTTP. */
export class ImageService {
  readonly ledger = new Ledger()
  readonly #options: ServiceOptions
  readonly #inFlight = new RunsInFlight()
  readonly #shares = new Shares()
  readonly #admission: Admission
  readonly #maker: Maker
  readonly #keyed: IdempotencyStore
  #clients = 0

  constructor(options: ServiceOptions) {
    this.#options = options
    this.#keyed = new IdempotencyStore({ ttl: options.idempotencyTtl, maxBytes: options.idempotencyBytes })
    this.#admission = new Admission({
      engine: options.engine,
      ledger: this.ledger,
      shares: this.#shares,
      memory: options.memory,
      queueLimit: options.queueLimit
    })
    this.#maker = new Maker(options)
  }

  /** What clients may ask for; undefined before the first worker was ready. */
  get offer(): Offer | undefined {
    return offerOf(this.#options.engine, this.#options.defaults)
  }

  /** How the service is. */
  get status(): ServiceStatus {
    return statusOf(this.#options.engine)
  }

  /** The release. */
  get version(): string {
    return this.#options.version
  }

  get queueLimit(): number {
    return this.#options.queueLimit
  }

  /** Finished answers and running requests that are known by an idempotency key. */
  get keysKnown(): number {
    return this.#keyed.size
  }

  /** Clients that wait for a run, read its answer, or watch it. */
  get clients(): number {
    return this.#clients
  }

  /**
   * Accepts a request, or joins the one that has its key, and attaches the client to it. The run goes on by itself from here.
   *
   * @throws EaselError when it is not accepted; nothing is held then
   */
  submit(request: GenerateRequest, caller: Caller): Submitted {
    const known = caller.key && this.#keyed.find(caller.key)
    if (known === undefined) {
      const run = this.#accept(request, caller)
      return { run, fresh: true, replayed: false, detach: this.#attach(run, true) }
    }
    this.#admission.refuseShare(
      caller.scope,
      known.clients === 0 && !known.ended ? Infinity : (caller.concurrency ?? Infinity)
    )
    const detach = this.#join(known, true)
    this.#inFlight.add(caller.scope, caller.id, known)
    this.#options.observer.repeated(known.ended ? 'replayed' : 'joined')
    return { run: known, fresh: false, replayed: known.ended, detach }
  }

  /**
   * Lets a client watch a run that it may see.
   *
   * @returns what to call when the client has left
   * @throws EaselError when the run has as many clients as it may, or there is no memory for another
   */
  watch(run: Run): () => void {
    return this.#join(run, false)
  }

  /** Runs in flight that a caller knows by this name. */
  find(scope: string, id: string): readonly Run[] {
    return this.#inFlight.find(scope, id)
  }

  #accept(request: GenerateRequest, caller: Caller): Run {
    const { engine, defaults, tokenizers, requestTimeout, resumeWindow } = this.#options
    this.#admission.refuseUnlessReady()
    this.#admission.refuseWhenFull(caller.scope, caller.concurrency ?? Infinity)
    const resolved = resolveRequest(request, engine.capabilities!, defaults, () => randomInt(2 ** 32))
    const { prompt, negative, truncated, tokens } = tokenizePrompts(resolved, tokenizers, request.truncate ?? false)
    const job: Job = {
      prompt,
      negative,
      seeds: seedsOf(resolved),
      ...wireOf(resolved),
      clip_skip: 0,
      preview_every: request.preview_interval ?? 0,
      ...(caller.trace === undefined ? {} : { trace: caller.trace })
    }
    const timeout = Math.min(requestTimeout, (request.timeout ?? Infinity) * 1000, caller.timeout ?? Infinity)
    this.#admission.refuseUnlessInTime(job, timeout)
    this.#admission.refuseUnlessRoom(job)
    const run = new Run({
      id: caller.id,
      timeout,
      abandonAfter: caller.key === undefined ? 0 : resumeWindow,
      truncated,
      promptTokens: tokens
    })
    this.#account(run, caller.scope)
    const memory = new RunMemory(this.#options.memory, run, {
      width: job.width,
      height: job.height,
      images: job.seeds.length
    })
    this.#inFlight.add(caller.scope, caller.id, run)
    if (caller.key !== undefined) this.#keyed.remember(caller.key, run)
    void this.#maker.make({ run, job, resolved, timeout, memory })
    return run
  }

  #join(run: Run, asks: boolean): () => void {
    if (run.clients >= MAX_CLIENTS)
      throw new EaselError('CONCURRENCY_LIMITED', `${MAX_CLIENTS} clients wait for this request already`, {
        retryAfter: MEMORY_RETRY_SECONDS
      })
    this.#admission.refuseUnlessReadable(run)
    return this.#attach(run, asks)
  }

  #attach(run: Run, asks: boolean): () => void {
    this.#clients += 1
    const detach = run.attach(asks)
    return once(() => {
      this.#clients -= 1
      detach()
    })
  }

  /** Enters the run in the ledger, and its one end. */
  #account(run: Run, scope: string): void {
    const entry = this.ledger.accept()
    this.#shares.add(scope, run)
    const start = performance.now()
    run.onEnd((error) => {
      const outcome = error === undefined ? 'succeeded' : outcomeOf(error)
      entry.end(outcome)
      this.#options.observer.ended(outcome, (performance.now() - start) / 1000, scope)
    })
  }
}
