import { EaselError } from '../errors.js'
import type { MemoryBudget } from '../memory.js'
import { NEUTRAL } from '../parameters.js'
import type { Pixels } from '../pictures/pixels.js'
import type { PictureFile, PictureReader } from '../pictures/reader.js'
import type { ControlPreviewRequest } from '../schemas/control-preview.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { TokenizeRequest, TokenizeResponse } from '../schemas/tokenize.js'
import { Admission } from './admission.js'
import type { Caller } from './caller.js'
import type { Continuation } from './continuation.js'
import { MEMORY_RETRY_SECONDS, outcomeOf } from './failures.js'
import { type Estimate, estimateOf } from './estimate.js'
import { type Held, HeldRequests } from './held-requests.js'
import { IdempotencyStore } from './idempotency.js'
import { RunsInFlight } from './in-flight.js'
import { Ledger, type Outcome } from './ledger.js'
import { RunExecutor, type RunExecutorObserver, type RunExecutorOptions } from './run-executor.js'
import { offeredLoras } from './loras.js'
import type { Model, Models } from './models.js'
import type { Offer } from './offer.js'
import { once } from './once.js'
import type { Control, Embedding, IpAdapter, Lora } from '../workers/protocol.js'
import type { WorkerPool } from '../workers/worker-pool.js'
import { type Plan, Planner } from './planner.js'
import { type Prepared, Preparer, type RequestPictures } from './preparer.js'
import { Run } from './run.js'
import { pixelBytesOf, RunMemory } from './run-memory.js'
import { Concurrency } from './concurrency.js'
import { previewOfControl } from './control-preview.js'
import { type ModelStatus, type ServiceStatus, statusOf, statusOfModel } from './status.js'
import { countTokens } from './tokenize.js'

export interface ServiceOptions extends RunExecutorOptions {
  pool: WorkerPool
  models: Models
  memory: MemoryBudget
  pictures: PictureReader
  /** Most bytes of a picture's file. */
  maxPictureBytes: number
  /** Most requests in flight for each model: accepted and not ended. */
  queueLimit: number
  /** Whether requests wait, as long as their time allows, while no worker is connected */
  holdRequests: boolean
  /** ms that a request may take at most; clients can only ask for less */
  requestTimeout: number
  /** ms that a keyed request keeps running after its last client has left */
  resumeWindow: number
  /** ms that the answer to a keyed request is kept */
  idempotencyTtl: number
  /** Most bytes of kept answers. */
  idempotencyBytes: number
  observer: ServiceObserver
}

/** Receives the service's events, e.g. for metrics. */
export interface ServiceObserver extends RunExecutorObserver {
  /** A request ended this many seconds after it was accepted. */
  ended: (outcome: Outcome, seconds: number, scope: string, model: string) => void
  /** A keyed request was attached to an existing run. */
  repeated: (how: 'joined' | 'replayed') => void
}

/** A client attached to a new, running or finished run. */
export interface Submitted {
  run: Run
  /** True if this request started the run, false if it joined an existing one. */
  fresh: boolean
  /** True if the run had already ended, so its stored answer is replayed. */
  replayed: boolean
  /** Call it when the client has read its answer or has left. */
  detach: () => void
}

/** Most clients of one run, including those that only watch. */
const MAX_CLIENTS = 32

/** Turns requests into image files: validation, admission, tokenizing, workers, encoder. Independent of HTTP. */
export class ImageService {
  readonly ledger = new Ledger()
  readonly #options: ServiceOptions
  readonly #inFlight = new RunsInFlight()
  readonly #concurrency = new Concurrency()
  readonly #held = new HeldRequests()
  readonly #admission: Admission
  readonly #planner: Planner
  readonly #preparer: Preparer
  readonly #executor: RunExecutor
  readonly #keyed: IdempotencyStore
  #clients = 0

  constructor(options: ServiceOptions) {
    this.#options = options
    this.#keyed = new IdempotencyStore({ ttl: options.idempotencyTtl, maxBytes: options.idempotencyBytes })
    this.#admission = new Admission({
      draining: () => options.pool.draining,
      concurrency: this.#concurrency,
      memory: options.memory,
      queueLimit: options.queueLimit,
      holdRequests: options.holdRequests,
      held: this.#held
    })
    this.#planner = new Planner({ ...options, admission: this.#admission })
    this.#preparer = new Preparer({ ...options, planner: this.#planner, admission: this.#admission })
    this.#executor = new RunExecutor(options)
  }

  /** What clients can request of the default model. Undefined until its first worker is ready. */
  get offer(): Offer | undefined {
    return this.offerOf(undefined)
  }

  /** The LoRAs of a model; undefined for the default one. @throws EaselError MODEL_NOT_FOUND */
  lorasOf(model: string | undefined): readonly Lora[] {
    const { capabilities } = this.#options.models.find(model).served
    return capabilities === undefined ? [] : offeredLoras(capabilities)
  }

  /** The embeddings of a model; undefined for the default one. @throws EaselError MODEL_NOT_FOUND */
  embeddingsOf(model: string | undefined): readonly Embedding[] {
    return this.#options.models.find(model).served.capabilities?.embeddings ?? []
  }

  /** The ControlNets and T2I-Adapters of a model; undefined for the default one. @throws EaselError MODEL_NOT_FOUND */
  controlsOf(model: string | undefined): readonly Control[] {
    return this.#options.models.find(model).served.capabilities?.controls ?? []
  }

  /** The IP-Adapters of a model; undefined for the default one. @throws EaselError MODEL_NOT_FOUND */
  ipAdaptersOf(model: string | undefined): readonly IpAdapter[] {
    return this.#options.models.find(model).served.capabilities?.ipAdapters ?? []
  }

  /** What clients can request of each model that has had a worker, the default one first. */
  get offers(): readonly Offer[] {
    return this.models.flatMap(({ offer }) => offer ?? [])
  }

  /** All models, the default one first. */
  get models(): readonly Model[] {
    return this.#options.models.list
  }

  get status(): ServiceStatus {
    return statusOf(this.#options.pool, this.#options.holdRequests)
  }

  statusOfModel(model: Model): ModelStatus {
    return statusOfModel(model, this.#options.pool.draining, this.#options.holdRequests)
  }

  /** Whether requests wait, as long as their time allows, while no worker is connected. */
  get holdsRequests(): boolean {
    return this.#options.holdRequests
  }

  /** Requests that wait, before they are accepted, until their model has had a worker. */
  get held(): number {
    return this.models.reduce((sum, model) => sum + this.heldFor(model), 0)
  }

  /** Those of one model. */
  heldFor(model: Model): number {
    return this.#held.countOf(model)
  }

  /** Chip-seconds that the requests of a model will still take, as far as can be foreseen. */
  backlogChipSecondsOf(model: Model): number {
    return model.served.backlogChipSeconds + this.#held.chipSecondsOf(model)
  }

  /** Easel's release. */
  get version(): string {
    return this.#options.version
  }

  /** Limits of a picture that a request starts from. */
  get pictureLimits(): { max_bytes: number; max_pixels: number } {
    const { maxPictureBytes, pictures } = this.#options
    return { max_bytes: maxPictureBytes, max_pixels: pictures.maxPixels }
  }

  /** Most requests in flight for each model. */
  get queueLimitOfModel(): number {
    return this.#options.queueLimit
  }

  /** Most requests in flight, all models together. */
  get queueLimit(): number {
    return this.#options.queueLimit * this.models.length
  }

  /** Number of running requests and finished answers stored under an idempotency key. */
  get keysKnown(): number {
    return this.#keyed.size
  }

  /** Number of clients that wait for a run, read its answer, or watch it. */
  get clients(): number {
    return this.#clients
  }

  /**
   * What clients can request of a model; undefined for the default one. Undefined until its first worker is ready.
   *
   * @throws EaselError MODEL_NOT_FOUND
   */
  offerOf(model: string | undefined): Offer | undefined {
    return this.#options.models.find(model).offer
  }

  /**
   * How long a request may take, in ms.
   *
   * @param wanted what the client allows, in ms
   */
  timeoutOf(wanted: number): number {
    return Math.min(this.#options.requestTimeout, wanted)
  }

  /** Whether a request would wait for its model's first worker. @throws EaselError MODEL_NOT_FOUND */
  holds(name: string | undefined): boolean {
    const { served } = this.#options.models.find(name)
    return this.#options.holdRequests && served.capabilities === undefined && !this.#options.pool.draining
  }

  /**
   * Waits until a model has had a worker, if the server holds requests.
   *
   * @param name undefined for the default model
   * @param timeout what the client allows, in ms
   * @param left fires when the client has left
   * @returns whether it waited
   * @throws EaselError when the request is refused, its time is over, or its client has left
   */
  async hold(
    name: string | undefined,
    { concurrency, ...held }: Held & { readonly concurrency: number | undefined },
    timeout: number,
    left: AbortSignal
  ): Promise<boolean> {
    if (!this.holds(name)) return false
    const model = this.#options.models.find(name)
    this.#admission.refuseWhenFull(model, held.scope, concurrency ?? Infinity)
    await this.#held.wait(model, held, this.timeoutOf(timeout), left)
    return true
  }

  /** A caller's requests in flight, each until its answer is read; without those that are held. */
  inFlightOf(scope: string): number {
    return this.#concurrency.of(scope)
  }

  /** Calls `listener` whenever a caller's requests in flight have changed. */
  onInFlight(listener: (scope: string) => void): void {
    this.#concurrency.onChange(listener)
  }

  /**
   * Whether a request would count as one more of its caller's. False for one that returns to a run that its last client
   * has left.
   *
   * @throws EaselError if this server would refuse it now whatever it asks for
   */
  counts(name: string | undefined, caller: Pick<Caller, 'scope' | 'key' | 'concurrency'>): boolean {
    const known = this.#known(caller)
    if (known !== undefined) return !countsAlready(known)
    const { models } = this.#options
    if (this.holds(name))
      this.#admission.refuseWhenFull(models.find(name), caller.scope, caller.concurrency ?? Infinity)
    else this.#planner.admit({ model: name }, caller)
    return true
  }

  /** The refusal of a caller that has as many requests in flight as it may have. */
  overConcurrency(name: string | undefined, scope: string, most: number): EaselError {
    return this.#admission.overConcurrency(this.#options.models.findOrDefault(name), scope, most)
  }

  /** Refuses the requests that wait for a model's first worker. Call it when the server shuts down. */
  drain(): void {
    this.#held.drain()
  }

  /**
   * Accepts a request, or joins the run that has its idempotency key, and attaches the client. The run proceeds on its
   * own.
   *
   * @param prepared what `prepare` made of its pictures; freed when the run ends, or now if there is none
   * @param continuation for a new run
   * @throws EaselError when it is refused; nothing is held then
   */
  submit(request: GenerateRequest, caller: Caller, prepared?: Prepared, continuation?: Continuation): Submitted {
    try {
      const submitted = this.#submit(request, caller, prepared, continuation)
      if (!submitted.fresh) prepared?.release()
      return submitted
    } catch (error) {
      prepared?.release()
      throw error
    }
  }

  /**
   * What a net gets of a control picture.
   *
   * @param left fires when the client has left
   * @throws EaselError when it is refused; nothing is held then
   */
  previewControl(request: ControlPreviewRequest, picture: PictureFile, left: AbortSignal): Promise<Pixels> {
    return previewOfControl({ ...this.#options, admission: this.#admission }, request, picture, left)
  }

  /** Whether parts of a picture are transparent. @throws EaselError for a file that is no picture */
  hasHoles(picture: PictureFile): Promise<boolean> {
    return this.#options.pictures.hasHoles(picture)
  }

  /**
   * Decodes the pictures of a request, for `submit`. Undefined if the request repeats a known one.
   *
   * @param files the pictures; the request has their digests in their place
   * @param signal fires when the client has left
   * @throws EaselError when the request is refused; nothing is held then
   */
  async prepare(
    request: GenerateRequest,
    caller: Caller,
    files: RequestPictures,
    signal: AbortSignal
  ): Promise<Prepared | undefined> {
    if (caller.key !== undefined && this.#keyed.find(caller.key) !== undefined) return undefined
    return this.#preparer.prepare(request, caller, files, signal)
  }

  #submit(
    request: GenerateRequest,
    caller: Caller,
    prepared: Prepared | undefined,
    continuation: Continuation | undefined
  ): Submitted {
    if (request.webhook !== undefined)
      throw new EaselError(
        'INVALID_REQUEST',
        'webhook is for durable jobs: send the header Prefer: respond-async, or leave webhook out',
        { field: 'webhook' }
      )
    const known = this.#known(caller)
    if (known === undefined) {
      const run = this.#accept(request, caller, prepared, continuation)
      return { run, fresh: true, replayed: false, detach: this.#attach(run, true) }
    }
    this.#admission.refuseOverConcurrency(
      this.#options.models.findOrDefault(request.model),
      caller.scope,
      countsAlready(known) ? Infinity : (caller.concurrency ?? Infinity)
    )
    const detach = this.#join(known, true)
    this.#inFlight.add(caller.scope, caller.id, known)
    this.#options.observer.repeated(known.ended ? 'replayed' : 'joined')
    return { run: known, fresh: false, replayed: known.ended, detach }
  }

  /**
   * Attaches a client that only watches. The caller checks that the client may see the run.
   *
   * @returns detaches the client
   * @throws EaselError when the run has too many clients or there is no memory for another
   */
  watch(run: Run): () => void {
    return this.#join(run, false)
  }

  /**
   * What a request would use and when it would be done. Makes nothing.
   *
   * @param prepared what `prepare` made of its pictures; freed here
   * @throws EaselError when `submit` would refuse it
   */
  estimate(request: GenerateRequest, caller: Caller, prepared?: Prepared): Estimate {
    try {
      const model = this.#planner.admit(request, caller)
      return estimateOf(prepared?.plan ?? this.#planner.plan(request, caller, model))
    } finally {
      prepared?.release()
    }
  }

  /**
   * What a request that may wait for long would be, as far as this server knows. Undefined before the first worker of
   * its model, and while a program that it needs is compiled.
   *
   * @throws EaselError when the request itself is wrong
   */
  foresee(request: GenerateRequest, caller: Caller): Plan | undefined {
    const model = this.#options.models.find(request.model)
    if (model.served.capabilities === undefined) return undefined
    try {
      return this.#planner.decide(request, caller, model)
    } catch (error) {
      if (error instanceof EaselError && error.code === 'NOT_READY') return undefined
      throw error
    }
  }

  /** Whether the server is shutting down. */
  get draining(): boolean {
    return this.#options.pool.draining
  }

  /** Forgets answers kept for retries until so many bytes of jobs fit. Returns whether they do. */
  makeRoom(bytes: number): boolean {
    const { memory } = this.#options
    while (memory.room('jobs') < bytes) if (!this.#keyed.forgetOne()) return false
    return true
  }

  /** Counts the tokens of prompts. @throws EaselError INVALID_REQUEST or MODEL_NOT_FOUND */
  countTokens(request: TokenizeRequest): TokenizeResponse {
    const { models, defaults } = this.#options
    const { served, tokenizers } = models.find(request.model)
    const syntax = request.prompt_syntax ?? defaults.prompt_syntax ?? NEUTRAL.prompt_syntax
    const { limits, comingMaxChunks = 1, embeddings = [] } = served.capabilities ?? {}
    const maxChunks = limits?.max_chunks ?? 1
    return countTokens(request, { syntax, maxChunks, comingMaxChunks, embeddings }, tokenizers)
  }

  /** The caller's running requests of this name. */
  find(scope: string, id: string): readonly Run[] {
    return this.#inFlight.find(scope, id)
  }

  #known({ key }: Pick<Caller, 'key'>): Run | undefined {
    return key && this.#keyed.find(key)
  }

  #accept(
    request: GenerateRequest,
    caller: Caller,
    prepared: Prepared | undefined,
    continuation: Continuation | undefined
  ): Run {
    const model = this.#planner.admit(request, caller)
    // Decoding took time, in which others may have taken the place.
    if (prepared !== undefined) this.#planner.refuseUnlessPossible(prepared.plan)
    const plan = prepared?.plan ?? this.#planner.plan(request, caller, model)
    const { resolved, prompts, job, share, second, timeout, size } = plan
    const inputs = second && this.#admission.holdInputs(second.size, pixelBytesOf(size), 'hires')
    const run = new Run({
      id: caller.id,
      timeout,
      abandonAfter: caller.key === undefined ? 0 : this.#options.resumeWindow,
      prompts: prompts.report
    })
    this.#account(run, caller.scope, model)
    const memory = new RunMemory(this.#options.memory, run, size)
    if (prepared !== undefined) run.onEnd(prepared.release)
    if (inputs !== undefined) run.onEnd(() => inputs.release())
    this.#inFlight.add(caller.scope, caller.id, run)
    if (caller.key !== undefined) this.#keyed.remember(caller.key, run)
    const overlay = prepared?.overlay
    void this.#executor.execute({
      run,
      model: model.served,
      job,
      share,
      second,
      resolved,
      timeout,
      memory,
      overlay,
      continuation
    })
    return run
  }

  #join(run: Run, asks: boolean): () => void {
    if (run.clients >= MAX_CLIENTS)
      throw new EaselError(
        'CONCURRENCY_LIMITED',
        `this request already has ${MAX_CLIENTS} clients, the most it may have`,
        {
          retryAfter: MEMORY_RETRY_SECONDS
        }
      )
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

  /** Records the run in the ledgers, the service's and its model's: its acceptance now, its outcome at the end. */
  #account(run: Run, scope: string, { name, ledger }: Model): void {
    const entries = [this.ledger.accept(), ledger.accept()]
    this.#concurrency.add(scope, run)
    const start = performance.now()
    run.onEnd((error) => {
      const outcome = error === undefined ? 'succeeded' : outcomeOf(error)
      for (const entry of entries) entry.end(outcome)
      this.#options.observer.ended(outcome, (performance.now() - start) / 1000, scope, name!)
    })
  }
}

/** Whether a run counts as its caller's until its next client has come, and no more then. */
function countsAlready(run: Run): boolean {
  return run.clients === 0 && !run.ended
}
