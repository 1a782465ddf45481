import { byId, el } from '../lib/dom.js'
import { sizeName } from '../model/settings.js'

/** The sizes to choose from, each drawn in its shape. */
export class Sizes {
  readonly #box = byId('sizes', HTMLDivElement)
  #names: string[] = []

  get value(): string {
    return this.#box.querySelector<HTMLInputElement>('input:checked')?.value ?? ''
  }

  /** Chooses a size, if the model has it. */
  set value(name: string) {
    const input = [...this.#box.querySelectorAll('input')].find(({ value }) => value === name)
    if (input !== undefined) input.checked = true
  }

  /** Offers other sizes. The chosen one stays if it is among them, else the first of `preferred` that is. */
  offer(sizes: readonly (readonly number[])[], ...preferred: string[]): void {
    const names = sizes.map(([width = 0, height = 0]) => sizeName(width, height))
    if (names.length === 0 || names.join() === this.#names.join()) return
    const chosen = this.value
    this.#names = names
    this.#box.replaceChildren(...sizes.map(([width = 1, height = 1]) => chip(width, height)))
    this.value = [chosen, ...preferred].find((name) => names.includes(name)) ?? names[0]!
  }
}

function chip(width: number, height: number): HTMLLabelElement {
  const name = sizeName(width, height)
  const shape = el('span', { className: 'chip-shape', aria: { hidden: 'true' } })
  shape.style.setProperty('--across', String(width / Math.max(width, height)))
  shape.style.setProperty('--down', String(height / Math.max(width, height)))
  return el('label', { className: 'chip' }, el('input', { type: 'radio', name: 'size', value: name, required: true }), shape, name)
}
