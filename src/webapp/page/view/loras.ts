import type { Lora } from '../api/types.js'
import { byId, el, placeChildren } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { type ChosenLora, weightOf } from '../model/loras.js'

interface Events {
  /** The chosen LoRAs have changed. */
  change: undefined
  /** The visitor wants this trigger word in the prompt. */
  word: string
  /** The visitor wants the preset of a LoRA. */
  preset: string
  /** The visitor looks for a LoRA: the list should be as new as possible. */
  look: undefined
}

/** The part of a name that people read; the whole name is its title. */
function shortName(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1)
}

/** Chooses LoRAs and their weights. Hidden if the model has none. */
export class Loras extends Emitter<Events> {
  readonly #field = byId('loras-field', HTMLDivElement)
  readonly #list = byId('loras-list', HTMLUListElement)
  readonly #select = byId('loras', HTMLSelectElement)
  readonly #rows = new Map<string, HTMLLIElement>()
  #offered: readonly Lora[] = []
  #chosen: readonly ChosenLora[] = []
  #supported = false

  constructor() {
    super()
    this.#select.addEventListener('focus', () => this.emit('look', undefined))
    this.#select.addEventListener('change', () => {
      if (this.#select.value !== '') this.#choose([...this.#chosen, { name: this.#select.value, weight: 1 }])
    })
  }

  get value(): ChosenLora[] {
    return [...this.#chosen]
  }

  set value(loras: readonly ChosenLora[]) {
    this.#chosen = loras
    this.#show()
  }

  /** Says whether the chosen model takes LoRAs. */
  set supported(supported: boolean) {
    this.#supported = supported
    this.#show()
  }

  /** Offers these LoRAs. Keeps a chosen one that is not offered, and marks it. */
  offer(loras: readonly Lora[]): void {
    if (JSON.stringify(loras) === JSON.stringify(this.#offered)) return
    this.#offered = loras
    this.#rows.clear()
    this.#show()
  }

  #choose(loras: readonly ChosenLora[]): void {
    this.value = loras
    this.emit('change', undefined)
  }

  #show(): void {
    // A chosen one stays visible, so that the visitor can remove it.
    this.#field.hidden = !this.#supported && this.#chosen.length === 0
    const free = this.#offered.filter(({ name }) => !this.#chosen.some((lora) => lora.name === name))
    this.#select.replaceChildren(
      el('option', { value: '' }, free.length === 0 ? 'No other LoRA' : 'Add a LoRA …'),
      ...free.map(({ name }) => el('option', { value: name }, name))
    )
    for (const name of this.#rows.keys()) if (!this.#chosen.some((lora) => lora.name === name)) this.#rows.delete(name)
    placeChildren(
      this.#list,
      this.#chosen.map((lora) => this.#row(lora))
    )
  }

  #row(lora: ChosenLora): HTMLLIElement {
    const known = this.#rows.get(lora.name)
    const row = known ?? this.#newRow(lora.name)
    this.#rows.set(lora.name, row)
    const field = row.querySelector('input')!
    // Do not overwrite a number that is being written, such as "0.".
    if (document.activeElement !== field) field.value = String(weightOf(lora) ?? '')
    const { weight = 1, unet_weight = weight, text_weight = weight } = lora
    field.placeholder = `${unet_weight}/${text_weight}`
    return row
  }

  #newRow(name: string): HTMLLIElement {
    const offered = this.#offered.find((lora) => lora.name === name)
    const weight = el('input', {
      type: 'number',
      min: '-10',
      max: '10',
      step: 'any',
      inputMode: 'decimal',
      title: 'Weight: 1 is as trained, 0 has no effect, less than 0 is the opposite',
      aria: { label: `Weight of ${name}` }
    })
    weight.addEventListener('input', () => {
      if (weight.value !== '' && weight.validity.valid) this.#weigh(name, Number(weight.value))
    })
    const remove = el('button', { type: 'button', className: 'quiet', aria: { label: `Remove ${name}` } }, '×')
    remove.addEventListener('click', () => {
      this.#choose(this.#chosen.filter((lora) => lora.name !== name))
      this.#select.focus()
    })
    const { trigger_words = [], preset } = offered ?? {}
    const words = [
      ...(preset === undefined ? [] : [this.#presetButton(preset)]),
      ...trigger_words.map((word) => this.#wordButton(word))
    ]
    return el(
      'li',
      { className: 'lora' },
      el('span', { className: 'lora-name', title: name, dir: 'auto' }, shortName(name)),
      weight,
      remove,
      ...(this.#offered.length > 0 && offered === undefined
        ? [el('p', { className: 'field-error' }, 'This server does not have it.')]
        : []),
      ...(words.length === 0 ? [] : [el('div', { className: 'lora-words' }, ...words)])
    )
  }

  #presetButton(preset: string): HTMLButtonElement {
    const button = el(
      'button',
      {
        type: 'button',
        className: 'quiet',
        title: 'This LoRA is for few steps: choose its steps, guidance and sampler'
      },
      `Use preset ${preset}`
    )
    button.addEventListener('click', () => this.emit('preset', preset))
    return button
  }

  #wordButton(word: string): HTMLButtonElement {
    const button = el(
      'button',
      { type: 'button', className: 'quiet', dir: 'auto', title: 'Add this trigger word to the prompt' },
      `+ ${word}`
    )
    button.addEventListener('click', () => this.emit('word', word))
    return button
  }

  #weigh(name: string, weight: number): void {
    this.#choose(this.#chosen.map((lora) => (lora.name === name ? { name, weight } : lora)))
  }
}
