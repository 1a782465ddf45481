import type { Health } from '../api/types.js'
import { byId, el } from '../lib/dom.js'
import { duration } from '../lib/format.js'
import { modelNames } from '../model/offer.js'

/** Chooses among the server's models. Hidden if there is one. */
export class ModelPicker {
  readonly #field = byId('model-field', HTMLDivElement)
  readonly #select = byId('model', HTMLSelectElement)
  /** A requested model that is not offered (yet). */
  #wanted: string | undefined

  constructor() {
    this.#select.addEventListener('change', () => (this.#wanted = undefined))
  }

  /** The chosen model; undefined while there is no choice. */
  get value(): string | undefined {
    return this.#select.value || undefined
  }

  /** Chooses a model, now or once it is offered. */
  set value(name: string | undefined) {
    const offered = [...this.#select.options].some(({ value }) => value === name)
    if (offered) this.#select.value = name!
    this.#wanted = offered ? undefined : name
  }

  /** The model that the visitor wants, offered or not. */
  get wanted(): string | undefined {
    return this.#wanted ?? this.value
  }

  /** Offers the server's models and keeps the choice. */
  offer({ models }: Pick<Health, 'models'>): void {
    const { wanted } = this
    const names = modelNames({ models })
    this.#field.hidden = names.length < 2
    const texts = models.filter(({ name }) => name !== null).map(describe)
    const shown = [...this.#select.options].map(({ value, text }) => `${value} ${text}`)
    if (names.length < 2) this.#select.replaceChildren()
    // Do not replace the options of an open list without need: that closes it.
    else if (shown.join() !== names.map((name, index) => `${name} ${texts[index]}`).join())
      this.#select.replaceChildren(...names.map((value, index) => el('option', { value }, texts[index]!)))
    this.value = wanted
  }
}

function describe({ name, status, loaded, swap_seconds: seconds }: Health['models'][number]): string {
  if (status !== 'ready') return `${name} (not ready)`
  // Another model has the device that both share.
  return loaded ? name! : `${name} (loads first${seconds === null ? '' : `, ${duration(seconds)}`})`
}
