import { byId, el } from '../lib/dom.js'
import { sizeName } from '../model/settings.js'

/** The sizes to choose from, each drawn in its shape. */
export class Sizes {
  readonly #box = byId('sizes', HTMLDivElement)
  #offered = ''

  get value(): string {
    return this.#box.querySelector<HTMLInputElement>('input:checked')?.value ?? ''
  }

  /** Chooses a size, if the model has it. */
  set value(name: string) {
    const input = [...this.#box.querySelectorAll<HTMLInputElement>('input:enabled')].find(({ value }) => value === name)
    if (input !== undefined) input.checked = true
  }

  /**
   * Offers other sizes, and shows those that are coming. The chosen one stays if it is among them, else the first of
   * `preferred` that is.
   */
  offer(sizes: readonly Size[], coming: readonly Size[], ...preferred: string[]): void {
    const offered = JSON.stringify([sizes, coming])
    if (sizes.length === 0 || offered === this.#offered) return
    const chosen = this.value
    this.#offered = offered
    this.#box.replaceChildren(...sizes.map((size) => chip(size, true)), ...coming.map((size) => chip(size, false)))
    const names = sizes.map(nameOf)
    this.value = [chosen, ...preferred].find((name) => names.includes(name)) ?? names[0]!
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
  return el('label', { className: 'chip', title: ready ? '' : 'Still being prepared' }, input, shape, name, ...soon)
}
