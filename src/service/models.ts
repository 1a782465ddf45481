import { EaselError } from '../errors.js'
import { excerpt } from '../excerpt.js'
import type { Defaults } from '../parameters.js'
import type { SdxlTokenizers } from '../tokenizer/index.js'
import type { ServedModel } from '../workers/served-model.js'
import { Ledger } from './ledger.js'
import { type Offer, offerOf } from './offer.js'

/** A model of the service: its workers, its tokenizers, and the requests made of it. */
export class Model {
  readonly served: ServedModel
  readonly tokenizers: SdxlTokenizers
  readonly ledger = new Ledger()
  readonly #defaults: Defaults

  constructor(served: ServedModel, tokenizers: SdxlTokenizers, defaults: Defaults) {
    this.served = served
    this.tokenizers = tokenizers
    this.#defaults = defaults
  }

  /** Undefined only for a server's only model, before its first worker. */
  get name(): string | undefined {
    return this.served.name
  }

  /** What clients can request of it. Undefined until its first worker is ready. */
  get offer(): Offer | undefined {
    return offerOf(this.served, this.#defaults)
  }
}

/** The models of a service, at least one. */
export class Models {
  /** The default model first. */
  readonly list: readonly Model[]

  constructor(list: readonly Model[]) {
    this.list = list
  }

  get names(): readonly string[] {
    return this.list.flatMap(({ name }) => name ?? [])
  }

  /**
   * @param name undefined for the default model
   * @throws EaselError MODEL_NOT_FOUND, with the names that are served
   */
  find(name: string | undefined): Model {
    const [first] = this.list
    // A server's only model has no name before its first worker, so no name can be wrong yet.
    if (name === undefined || first!.name === undefined) return first!
    const found = this.#named(name)
    if (found !== undefined) return found
    throw new EaselError(
      'MODEL_NOT_FOUND',
      `model ${JSON.stringify(excerpt(name))} is not served here; use one of ${this.names.join(', ')}`,
      { field: 'model' }
    )
  }

  /** The model of a request that was accepted earlier, whose model may have another name since. */
  findOrDefault(name: string | undefined): Model {
    return this.#named(name) ?? this.list[0]!
  }

  #named(name: string | undefined): Model | undefined {
    return this.list.find((model) => model.name === name)
  }
}
