import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import type { History } from '../model/history.js'
import { type Picture, urlOf } from '../model/picture.js'

interface Events {
  open: Picture
}

/** The pictures that were made in this browser. */
export class Sketchbook extends Emitter<Events> {
  readonly #list = byId('sketches', HTMLUListElement)
  readonly #note = byId('sketchbook-note', HTMLParagraphElement)
  readonly #clear = byId('clear', HTMLButtonElement)
  readonly #history: History
  #items = new Map<string, HTMLLIElement>()
  #current: string | undefined

  constructor(history: History) {
    super()
    this.#history = history
    history.on('change', () => this.#show())
    const dialog = byId('clear-dialog', HTMLDialogElement)
    this.#clear.addEventListener('click', () => {
      dialog.returnValue = 'keep'
      dialog.showModal()
    })
    dialog.addEventListener('close', () => {
      if (dialog.returnValue === 'delete') void history.clear()
    })
    this.#show()
  }

  /** Marks the picture that is on the easel. */
  mark(picture: Picture | undefined): void {
    this.#current = picture?.id
    for (const [id, item] of this.#items) mark(item, id === this.#current)
  }

  #show(): void {
    const { pictures, lasting } = this.#history
    // What is shown already is kept: its image is decoded and may have the focus.
    this.#items = new Map(pictures.map((picture) => [picture.id, this.#items.get(picture.id) ?? this.#item(picture)]))
    const items = [...this.#items.values()]
    if (items.length !== this.#list.children.length || items.some((item, index) => item !== this.#list.children[index])) this.#list.replaceChildren(...items)
    this.#clear.hidden = pictures.length === 0
    this.#note.textContent = pictures.length === 0 ? 'What you paint is kept here, in this browser only.' : lasting ? 'In this browser only.' : 'This browser keeps nothing: gone when the page is closed.'
  }

  #item(picture: Picture): HTMLLIElement {
    const { prompt, seed, width, height } = picture.recipe
    const image = el('img', { src: urlOf(picture), alt: '', loading: 'lazy', decoding: 'async', width, height })
    const open = el('button', { type: 'button', className: 'sketch', title: prompt, aria: { label: `${prompt}, seed ${seed}` } }, image)
    open.addEventListener('click', () => this.emit('open', picture))
    const item = el('li', {}, open)
    mark(item, picture.id === this.#current)
    return item
  }
}

function mark(item: HTMLLIElement, current: boolean): void {
  const button = item.firstElementChild
  if (current) button?.setAttribute('aria-current', 'true')
  else button?.removeAttribute('aria-current')
}
