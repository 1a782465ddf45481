import { byId, el } from '../lib/dom.js'
import { ratioName } from '../lib/format.js'
import { count } from '../lib/text.js'
import { sizeName } from '../model/settings.js'

/** The size chooser: a chip for each size with its shape and aspect ratio. */
export class Sizes {
  readonly #box = byId('sizes', HTMLDivElement)
  readonly #note = byId('sizes-note', HTMLParagraphElement)
  #offered = ''
  #preset = ''
  /** A requested size that is not (yet) offered; cleared when the visitor chooses another. */
  #missed = ''

  constructor() {
    this.#box.addEventListener('change', () => (this.#missed = ''))
  }

  /** The chosen size; empty until sizes are offered. */
  get value(): string {
    return this.#box.querySelector<HTMLInputElement>('input:checked')?.value ?? ''
  }

  /** Chooses a size, now or once it is offered. */
  set value(name: string) {
    const input = [...this.#box.querySelectorAll<HTMLInputElement>('input:enabled')].find(({ value }) => value === name)
    if (input !== undefined) input.checked = true
    this.#missed = input === undefined ? name : ''
  }

  /** The size that the visitor wants, offered or not. */
  get wanted(): string {
    return this.#missed || this.value
  }

  /**
   * Offers `sizes`, and shows those in `coming` as disabled. Chooses the wanted size if offered, else keeps the chosen
   * one, else the preset, else the first. A preset that replaces the chosen one, as of another model, is chosen.
   */
  offer(sizes: readonly Size[], coming: readonly Size[], preset: Size): void {
    const offered = JSON.stringify([sizes, coming, preset])
    if (sizes.length === 0 || offered === this.#offered) return
    const wanted = this.wanted === this.#preset ? nameOf(preset) : this.wanted
    const preferred = [wanted, this.value, nameOf(preset)]
    this.#offered = offered
    this.#preset = nameOf(preset)
    this.#box.replaceChildren(...sizes.map((size) => chip(size, true)), ...coming.map((size) => chip(size, false)))
    this.#note.hidden = coming.length === 0
    this.#note.textContent = `${count(coming.length, 'more size is', 'more sizes are')} being prepared.`
    const names = sizes.map(nameOf)
    this.value = preferred.find((name) => names.includes(name)) ?? names[0]!
    if (wanted !== this.value) this.#missed = wanted
  }
}

/** Width and height. */
type Size = readonly number[]

function nameOf([width = 0, height = 0]: Size): string {
  return sizeName(width, height)
}

function chip(size: Size, ready: boolean): HTMLLabelElement {
  const [width = 1, height = 1] = size
  const name = nameOf(size)
  const shape = el('span', { className: 'chip-shape', aria: { hidden: 'true' } })
  shape.style.setProperty('--across', String(width / Math.max(width, height)))
  shape.style.setProperty('--down', String(height / Math.max(width, height)))
  const input = el('input', { type: 'radio', name: 'size', value: name, required: true, disabled: !ready })
  const soon = ready ? [] : [el('span', { className: 'sr-only' }, ', still being prepared')]
  return el(
    'label',
    { className: 'chip', title: ready ? '' : 'Still being prepared' },
    input,
    shape,
    el('span', { className: 'chip-ratio' }, ratioName(width, height)),
    ' ',
    el('span', { className: 'chip-size' }, name),
    ...soon
  )
}
