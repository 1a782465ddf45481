import { randomInt, randomUUID } from 'node:crypto'
import type { Engine } from '../engine/engine.js'
import type { Job, JobListener, JobProgress, RawImage } from '../engine/job.js'
import { EaselError } from '../errors.js'
import type { Format } from '../image/formats.js'
import type { ImageEncoder } from '../image/encoder.js'
import type { Recipe } from '../image/recipe.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
import { NOT_READY_RETRY_SECONDS, outcomeOf, toEaselError } from './failures.js'
import { IdempotencyStore, type RequestKey } from './idempotency.js'
import { RunsInFlight } from './in-flight.js'
import { Ledger, type Outcome } from './ledger.js'
import { tokenizePrompts } from './prompts.js'
import { type Defaults, resolveRequest, type ResolvedRequest, seedsOf } from './resolve.js'
import { type MadeImage, Run, type RunTimings } from './run.js'

export interface ServiceOptions {
  engine: Engine
  tokenizers: SdxlTokenizers
  encoder: ImageEncoder
  defaults: Defaults
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
  /** Whether images carry their recipe. */
  embedRecipe: boolean
  version: string
  observer: ServiceObserver
}

/** What the service tells whoever measures it. */
export interface ServiceObserver {
  /** A request ended after so many seconds. */
  ended: (outcome: Outcome, seconds: number, scope: string) => void
  /** An image file was made. */
  file: (image: { seconds: number; format: Format; bytes: number; width: number; height: number }) => void
  /** A request was refused at the door. */
  refused: (error: EaselError) => void
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

/** A request that is on its way, or was before. */
export interface Submitted {
  run: Run
  /** True for the answer to an earlier request with the same key. */
  replayed: boolean
}

/** Least `Retry-After` of a full queue, in seconds. */
const MIN_RETRY_SECONDS = 1

/** From a request in words to files: checks, admission, tokens, the engine, the encoder. Knows no HTTP. */
export class ImageService {
  readonly ledger = new Ledger()
  readonly #options: ServiceOptions
  readonly #inFlight = new RunsInFlight()
  readonly #perScope = new Map<string, number>()
  readonly #keyed: IdempotencyStore

  constructor(options: ServiceOptions) {
    this.#options = options
    this.#keyed = new IdempotencyStore({ ttl: options.idempotencyTtl, maxBytes: options.idempotencyBytes })
  }

  get queueLimit(): number {
    return this.#options.queueLimit
  }

  /** Finished answers and running requests that are known by an idempotency key. */
  get keysKnown(): number {
    return this.#keyed.size
  }

  /**
   * Accepts a request, or joins the one that has its key. The run goes on by itself from here; whoever waits for it
   * attaches to it at once.
   *
   * @throws EaselError when it is not accepted; nothing is held then
   */
  submit(request: GenerateRequest, caller: Caller): Submitted {
    try {
      const known = caller.key && this.#keyed.find(caller.key)
      if (known !== undefined) {
        this.#inFlight.add(caller.scope, caller.id, known)
        this.#options.observer.repeated(known.ended ? 'replayed' : 'joined')
        return { run: known, replayed: known.ended }
      }
      return { run: this.#accept(request, caller), replayed: false }
    } catch (error) {
      const refusal = toEaselError(error)
      this.#options.observer.refused(refusal)
      throw refusal
    }
  }

  /** Runs in flight that a caller knows by this name. */
  find(scope: string, id: string): readonly Run[] {
    return this.#inFlight.find(scope, id)
  }

  #accept(request: GenerateRequest, caller: Caller): Run {
    const { engine, defaults, tokenizers, requestTimeout, resumeWindow } = this.#options
    this.#refuseUnlessReady()
    this.#refuseTooMany(caller)
    const resolved = resolveRequest(request, engine.capabilities!, defaults, () => randomInt(2 ** 32))
    const { prompt, negative, truncated, tokens } = tokenizePrompts(resolved, tokenizers, request.truncate ?? false)
    const job: Job = {
      prompt,
      negative,
      seeds: seedsOf(resolved),
      steps: resolved.num_inference_steps,
      guidance: resolved.guidance_scale,
      scheduler: resolved.scheduler,
      width: resolved.width,
      height: resolved.height,
      clipSkip: 0,
      previewEvery: request.preview_interval ?? 0,
      trace: caller.trace
    }
    const timeout = Math.min(requestTimeout, (request.timeout ?? Infinity) * 1000, caller.timeout ?? Infinity)
    this.#refuseUnlessInTime(job, timeout)
    const run = new Run({ id: caller.id, timeout, abandonAfter: caller.key === undefined ? 0 : resumeWindow, truncated, promptTokens: tokens })
    this.#account(run, caller.scope)
    this.#inFlight.add(caller.scope, caller.id, run)
    if (caller.key !== undefined) this.#keyed.remember(caller.key, run)
    void this.#work(run, job, resolved, timeout)
    return run
  }

  #refuseUnlessReady(): void {
    const { engine, queueLimit } = this.#options
    if (engine.state.draining) throw new EaselError('DRAINING', undefined, { retryAfter: NOT_READY_RETRY_SECONDS })
    if (!engine.ready) throw new EaselError('NOT_READY', undefined, { retryAfter: NOT_READY_RETRY_SECONDS })
    if (this.ledger.inFlight < queueLimit) return
    // By then half of those that wait have gone: whoever was refused meanwhile does not come back all at once.
    const retryAfter = Math.max(MIN_RETRY_SECONDS, Math.ceil(engine.halfBacklogSeconds ?? 0))
    throw new EaselError('QUEUE_FULL', `${queueLimit} requests wait already`, { retryAfter })
  }

  #refuseTooMany({ scope, concurrency = Infinity }: Caller): void {
    if (this.#inFlightOf(scope) < concurrency) return
    const retryAfter = Math.max(MIN_RETRY_SECONDS, Math.ceil(this.#options.engine.halfBacklogSeconds ?? 0))
    throw new EaselError('CONCURRENCY_LIMITED', `${scope} may have ${concurrency} requests in flight`, { retryAfter })
  }

  #inFlightOf(scope: string): number {
    return this.#perScope.get(scope) ?? 0
  }

  #leave(scope: string): void {
    const left = this.#inFlightOf(scope) - 1
    if (left === 0) this.#perScope.delete(scope)
    else this.#perScope.set(scope, left)
  }

  #refuseUnlessInTime(job: Job, timeout: number): void {
    const { engine } = this.#options
    const seconds = engine.secondsFor(job)
    if (seconds === undefined || seconds * 1000 <= timeout) return
    const retryAfter = Math.max(MIN_RETRY_SECONDS, Math.ceil(seconds - timeout / 1000))
    throw new EaselError('DEADLINE_UNREACHABLE', `it would be done in about ${seconds.toFixed(1)} s, and its time is ${(timeout / 1000).toFixed(1)} s`, { field: 'timeout', retryAfter })
  }

  /** Enters the run in the ledger, and its one end. */
  #account(run: Run, scope: string): void {
    const entry = this.ledger.accept()
    this.#perScope.set(scope, this.#inFlightOf(scope) + 1)
    const start = performance.now()
    run.onEnd((error) => {
      const outcome = error === undefined ? 'succeeded' : outcomeOf(error)
      entry.end(outcome)
      this.#leave(scope)
      this.#options.observer.ended(outcome, (performance.now() - start) / 1000, scope)
    })
  }

  async #work(run: Run, job: Job, resolved: ResolvedRequest, timeout: number): Promise<void> {
    const start = performance.now()
    const files: Promise<{ image: MadeImage; ms: number }>[] = []
    const listener: JobListener = {
      waiting: (ahead, seconds) => run.emit({ type: 'queued', position: ahead, estimate_seconds: seconds ?? null }),
      started: () => run.emit({ type: 'started' }),
      progress: (progress) => this.#progress(run, progress),
      image: (index, raw) => {
        const file = this.#file(run, raw, index, resolved)
        // Whether it can be made is asked when the last image is there; until then nobody listens.
        file.catch(() => undefined)
        files.push(file)
      }
    }
    try {
      const id = randomUUID()
      const raw = await this.#options.engine.generate(job, { id, timeout, signal: run.signal, listener })
      const made = await Promise.race([Promise.all(files), stopped(run.signal)])
      const images = made.map(({ image }) => image).sort((a, b) => a.index - b.index)
      const file_ms = Math.max(...made.map(({ ms }) => ms))
      run.succeed({ images, timings: { ...slowest(raw), file_ms, total_ms: performance.now() - start } })
    } catch (error) {
      run.fail(error)
    }
  }

  #progress(run: Run, { image, stage, step, of, preview }: JobProgress): void {
    if (stage === 'denoising') {
      run.emit({ type: 'progress', image, step, of, eta_seconds: this.#options.engine.secondsLeft(of - step) ?? null })
    }
    if (preview === undefined) return
    const { width, height } = preview
    this.#options.encoder.preview(preview).then(
      (jpeg) => run.emit({ type: 'preview', image, step, width, height, jpeg }),
      // A preview that cannot be made is left out: the image is what was asked for.
      () => undefined
    )
  }

  async #file(run: Run, raw: RawImage, index: number, resolved: ResolvedRequest): Promise<{ image: MadeImage; ms: number }> {
    const { encoder, embedRecipe, observer } = this.#options
    const start = performance.now()
    const { width, height, seed } = raw
    const { output_format: format, quality } = resolved
    const recipe = this.#recipe(resolved, seed)
    const bytes = await encoder.encode(raw, { format, quality, recipe: embedRecipe ? recipe : undefined }, run.signal)
    const ms = performance.now() - start
    observer.file({ seconds: ms / 1000, format, bytes: bytes.length, width, height })
    const image: MadeImage = { index, seed, format, width, height, bytes, recipe }
    run.emit({ type: 'image', image })
    return { image, ms }
  }

  #recipe(resolved: ResolvedRequest, seed: number): Recipe {
    const { model } = this.#options.engine.capabilities!
    const { prompt, negative_prompt, num_inference_steps, guidance_scale, scheduler, width, height, output_format, quality } = resolved
    const lossy = output_format === 'png' ? {} : { quality }
    const decided = { prompt, negative_prompt, seed, num_inference_steps, guidance_scale, scheduler, width, height, output_format, ...lossy }
    return { ...decided, model: model.id, model_digest: model.digest, version: this.#options.version }
  }
}

/** The worker's times of a request's images, which go on side by side: each that of the slowest. */
function slowest(images: readonly RawImage[]): Omit<RunTimings, 'file_ms' | 'total_ms'> {
  const most = (name: keyof RawImage['timings']) => Math.max(...images.map(({ timings }) => timings[name]))
  return { queue_ms: most('queue_ms'), encode_ms: most('encode_ms'), denoise_ms: most('denoise_ms'), decode_ms: most('decode_ms') }
}

/** Rejects when the signal fires, with its reason. */
function stopped(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error)
    else signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
}
