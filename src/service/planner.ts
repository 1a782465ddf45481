import { randomInt } from 'node:crypto'
import type { Defaults } from '../parameters.js'
import type { Size } from '../pictures/pixels.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Share } from '../workers/fair-queue.js'
import type { Job } from '../workers/job.js'
import type { Admission } from './admission.js'
import type { Caller } from './caller.js'
import { conditionsWireOf } from './controls.js'
import { wireOf } from './decisions.js'
import { recipeEmbeddings } from './embeddings.js'
import { lorasDoubted } from './loras.js'
import type { Model, Models } from './models.js'
import { shareOf } from './share.js'
import { tokenizePrompts } from './prompt-job.js'
import { checkEmbeddings } from './refined.js'
import { type Resolved, resolveRequest, seedsOf } from './resolve.js'
import { firstPassWireOf, NOTHING_YET, type SecondPass, secondPassOf } from './second-pass.js'
import { startWireOf } from './starts.js'

/** Everything decided about a request. */
export interface Plan {
  readonly model: Model
  readonly resolved: Resolved
  readonly prompts: ReturnType<typeof tokenizePrompts>
  readonly job: Job
  readonly second: SecondPass | undefined
  readonly share: Share
  /** ms */
  readonly timeout: number
  /** Its files. */
  readonly size: Size & { readonly images: number }
}

export interface PlannerOptions {
  models: Models
  defaults: Defaults
  /** ms that a request may take at most; clients can only ask for less */
  requestTimeout: number
  admission: Admission
}

/** Decides whether and how a request is served. Changes no state. */
export class Planner {
  readonly #options: PlannerOptions

  constructor(options: PlannerOptions) {
    this.#options = options
  }

  /** The model of a request, if it takes one more. @throws EaselError */
  admit(request: { readonly model?: string | undefined }, caller: Pick<Caller, 'scope' | 'concurrency'>): Model {
    const { models, admission } = this.#options
    const model = models.find(request.model)
    admission.refuseUnlessReady(model)
    admission.refuseWhenFull(model, caller.scope, caller.concurrency ?? Infinity)
    return model
  }

  /** How long the request may take, in ms: what the operator, the client's body and its header allow. */
  timeoutOf(request: GenerateRequest, caller: Caller): number {
    return Math.min(this.#options.requestTimeout, (request.timeout ?? Infinity) * 1000, caller.timeout ?? Infinity)
  }

  /**
   * @param output the size of the request's files, if not that of the images that the workers make
   * @throws EaselError when the request is refused
   */
  plan(request: GenerateRequest, caller: Caller, model: Model, output?: Size): Plan {
    const plan = this.decide(request, caller, model, output)
    this.refuseUnlessPossible(plan)
    return plan
  }

  /**
   * Like `plan`, for a request that need not be possible now.
   *
   * @throws EaselError when the request itself is wrong; NOT_READY if it waits for a program
   */
  decide(request: GenerateRequest, caller: Caller, model: Model, output?: Size): Plan {
    const { defaults } = this.#options
    const { served, tokenizers } = model
    const capabilities = served.capabilities!
    const wanted = resolveRequest(request, capabilities, defaults, () => randomInt(2 ** 32))
    const tokenized = tokenizePrompts(wanted, tokenizers, capabilities, request.truncate ?? false)
    const { report } = tokenized
    const warnings = [...report.warnings, ...lorasDoubted(wanted, wanted.loras ?? [], capabilities)]
    const prompts = { ...tokenized, report: { ...report, warnings } }
    checkEmbeddings(wanted, prompts.job.embeddings)
    const { embeddings: _, ...rest } = wanted
    const resolved: Resolved = { ...rest, ...recipeEmbeddings(prompts.job, capabilities) }
    const job: Job = {
      ...prompts.job,
      seeds: seedsOf(resolved),
      ...wireOf(resolved),
      ...startWireOf(resolved),
      ...firstPassWireOf(resolved),
      ...conditionsWireOf(resolved),
      ...(resolved.loras === undefined ? {} : { loras: resolved.loras }),
      preview_every: request.preview_interval ?? 0,
      ...(caller.trace === undefined ? {} : { trace: caller.trace })
    }
    const second = secondPassOf(job, resolved)
    const { width, height } = output ?? second?.size ?? job
    return {
      model,
      resolved,
      prompts,
      job,
      second,
      share: shareOf(request, caller),
      timeout: this.timeoutOf(request, caller),
      size: { width, height, images: job.seeds.length }
    }
  }

  /** @throws EaselError if the plan cannot be carried out now */
  refuseUnlessPossible({ model, job, second, share, timeout, size }: Plan): void {
    const { admission } = this.#options
    admission.refuseUnlessOneWorker(model, job)
    if (second !== undefined) admission.refuseUnlessOneWorker(model, second.job(0, NOTHING_YET), 'hires')
    admission.refuseUnlessInTime(model, { ...job, steps: job.steps + (second?.steps ?? 0) }, share, timeout)
    admission.refuseUnlessRoom(size)
  }
}
