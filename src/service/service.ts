import { randomInt } from 'node:crypto'
import type { Engine } from '../engine/engine.js'
import { JobError, type JobProgress, type RawImage } from '../engine/job.js'
import type { Timings, TokenIds } from '../engine/protocol.js'
import { EaselError, type ErrorCode } from '../errors.js'
import { encodePng } from '../image/png.js'
import type { Recipe } from '../image/recipe.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
import { Ledger, type Outcome } from './ledger.js'
import { type Defaults, resolveRequest } from './resolve.js'

export interface ServiceOptions {
  engine: Engine
  tokenizers: SdxlTokenizers
  defaults: Defaults
  /** Most requests that are accepted and not yet answered. */
  queueLimit: number
  /** ms */
  requestTimeout: number
  /** zlib level */
  pngCompression: number
  version: string
  observer: ServiceObserver
}

/** What the service tells whoever measures it. */
export interface ServiceObserver {
  /** A request ended after so many seconds. */
  ended: (outcome: Outcome, seconds: number) => void
  /** A PNG was made. */
  png: (image: { seconds: number; bytes: number; width: number; height: number }) => void
}

export interface GenerateContext {
  /** Unique; not the client's. */
  id: string
  signal: AbortSignal
  onProgress?: (progress: JobProgress) => void
}

/** A finished request. */
export interface Generated {
  readonly png: Buffer
  readonly recipe: Recipe
  /** Where the time went, in ms. */
  readonly timings: Timings & { readonly png_ms: number; readonly total_ms: number }
  /** Names of the prompts that were cut to fit. */
  readonly truncated: readonly string[]
}

/** How each end of a job is told to the client. */
const FAILURE_CODES: Record<JobError['failure'], ErrorCode> = {
  cancelled: 'CANCELLED',
  expired: 'DEADLINE_EXCEEDED',
  draining: 'DRAINING',
  worker_crashed: 'WORKER_CRASHED',
  out_of_memory: 'OUT_OF_MEMORY',
  invalid: 'INVALID_REQUEST',
  internal: 'GENERATION_FAILED'
}

/** Least `Retry-After` of a full queue, when nothing was measured yet. */
const MIN_RETRY_SECONDS = 1
/** `Retry-After` while no worker is ready or the server goes away: about a restart or a rollout's probe period. */
const NOT_READY_RETRY_SECONDS = 5

/** From a request in words to a PNG: checks, tokens, admission, the engine, the file. Knows no HTTP. */
export class ImageService {
  readonly ledger = new Ledger()
  readonly #options: ServiceOptions

  constructor(options: ServiceOptions) {
    this.#options = options
  }

  get queueLimit(): number {
    return this.#options.queueLimit
  }

  /**
   * Makes one image.
   *
   * @throws EaselError with the code of whatever went wrong; what it held is free again, or will be by the worker's next step
   */
  async generate(request: GenerateRequest, context: GenerateContext): Promise<Generated> {
    const { engine, defaults } = this.#options
    this.#refuseUnlessReady()
    const model = engine.capabilities!
    const resolved = resolveRequest(request, model, defaults, () => randomInt(2 ** 32))
    const prompts = this.#tokenize(resolved, request.truncate ?? false)
    const recipe: Recipe = { ...resolved, model: model.model.id, model_digest: model.model.digest, version: this.#options.version }
    return this.#accounted(() => this.#run(recipe, prompts, context))
  }

  #refuseUnlessReady(): void {
    const { engine } = this.#options
    const details = { retryAfter: NOT_READY_RETRY_SECONDS }
    if (engine.state.draining) throw new EaselError('DRAINING', undefined, details)
    if (!engine.ready) throw new EaselError('NOT_READY', undefined, details)
  }

  /** Admits a request, times it, and enters its one end in the ledger. */
  async #accounted<T>(work: () => Promise<T>): Promise<T> {
    const { queueLimit, engine, observer } = this.#options
    if (this.ledger.inFlight >= queueLimit) {
      const retryAfter = Math.max(MIN_RETRY_SECONDS, Math.ceil(engine.backlogSeconds))
      throw new EaselError('QUEUE_FULL', `${queueLimit} requests wait already`, { retryAfter })
    }
    const entry = this.ledger.accept()
    const start = performance.now()
    let outcome: Outcome = 'failed'
    try {
      const result = await work()
      outcome = 'succeeded'
      return result
    } catch (error) {
      const known = toEaselError(error)
      outcome = outcomeOf(known)
      throw known
    } finally {
      entry.end(outcome)
      observer.ended(outcome, (performance.now() - start) / 1000)
    }
  }

  async #run(recipe: Recipe, prompts: TokenizedPrompts, context: GenerateContext): Promise<Generated> {
    const start = performance.now()
    const { engine, requestTimeout } = this.#options
    const [raw] = await engine.generate(
      {
        prompt: prompts.prompt,
        negative: prompts.negative,
        seeds: [recipe.seed],
        steps: recipe.num_inference_steps,
        guidance: recipe.guidance_scale,
        scheduler: recipe.scheduler,
        width: recipe.width,
        height: recipe.height,
        clipSkip: 0,
        previewEvery: 0
      },
      { id: context.id, timeout: requestTimeout, signal: context.signal, onProgress: context.onProgress }
    )
    const { png, png_ms } = await this.#encode(raw!, recipe)
    if (context.signal.aborted) throw new JobError('cancelled', 'the client left while the PNG was made')
    return { png, recipe, truncated: prompts.truncated, timings: { ...raw!.timings, png_ms, total_ms: performance.now() - start } }
  }

  async #encode(raw: RawImage, recipe: Recipe): Promise<{ png: Buffer; png_ms: number }> {
    const start = performance.now()
    const png = await encodePng(raw, recipe, this.#options.pngCompression)
    const png_ms = performance.now() - start
    this.#options.observer.png({ seconds: png_ms / 1000, bytes: png.length, width: raw.width, height: raw.height })
    return { png, png_ms }
  }

  #tokenize({ prompt, negative_prompt }: { prompt: string; negative_prompt: string }, truncate: boolean): TokenizedPrompts {
    const truncated: string[] = []
    const encode = (text: string, field: string): TokenIds => {
      const encoded = this.#options.tokenizers.encode(text)
      if (encoded.truncated) {
        if (!truncate) throw promptTooLong(field, encoded)
        truncated.push(field)
      }
      return { ids: encoded.ids, ids_2: encoded.ids_2 }
    }
    return {
      prompt: encode(prompt, 'prompt'),
      // None at all is not the same as the empty text: the model has its own rule for it.
      negative: negative_prompt === '' ? null : encode(negative_prompt, 'negative_prompt'),
      truncated
    }
  }
}

interface TokenizedPrompts {
  prompt: TokenIds
  negative: TokenIds | null
  truncated: readonly string[]
}

function promptTooLong(field: string, { length, kept, cut }: { length: number; kept: string; cut: string }): EaselError {
  const tail = kept.slice(-30)
  const head = cut.slice(0, 60)
  return new EaselError(
    'PROMPT_TOO_LONG',
    `${field} has ${length} tokens, with its start and end marks; the model takes 77. It would be cut after ${JSON.stringify(tail)}, before ${JSON.stringify(head)}. Shorten it, or send "truncate": true`,
    { field }
  )
}

function toEaselError(error: unknown): EaselError {
  if (error instanceof EaselError) return error
  if (!(error instanceof JobError)) return new EaselError('INTERNAL', undefined, { cause: error })
  const retry = error.failure === 'draining' ? { retryAfter: NOT_READY_RETRY_SECONDS } : {}
  return new EaselError(FAILURE_CODES[error.failure], error.message, { cause: error, ...retry })
}

function outcomeOf(error: EaselError): Outcome {
  if (error.code === 'CANCELLED') return 'cancelled'
  return error.code === 'DEADLINE_EXCEEDED' ? 'expired' : 'failed'
}
