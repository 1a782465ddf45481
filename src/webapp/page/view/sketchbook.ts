import { byId, el, placeChildren } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { short } from '../lib/text.js'
import type { History } from '../model/history.js'
import { type Picture, shapeOf, urlOf } from '../model/picture.js'
import { Roving } from './roving.js'

/** Maximum characters of a prompt in an accessible name. */
const SAID = 160

interface Events {
  open: Picture
  /** The visitor wants to delete all pictures. */
  clear: undefined
}

/** The pictures made in this browser. */
export class Sketchbook extends Emitter<Events> {
  readonly #list = byId('sketches', HTMLDivElement)
  readonly #note = byId('sketchbook-note', HTMLParagraphElement)
  readonly #clear = byId('clear', HTMLButtonElement)
  readonly #roving = new Roving(this.#list)
  readonly #history: History
  #sketches = new Map<string, HTMLButtonElement>()
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
      if (dialog.returnValue === 'delete') this.emit('clear', undefined)
    })
    this.#show()
  }

  /** Marks the picture that is on the easel. */
  mark(picture: Picture | undefined): void {
    this.#current = picture?.id
    for (const [id, sketch] of this.#sketches) sketch.ariaSelected = String(id === this.#current)
    this.#roving.refresh()
  }

  #show(): void {
    const { pictures, lasting } = this.#history
    // Reuse existing elements: their images are decoded, and one may have the focus.
    this.#sketches = new Map(
      pictures.map((picture) => [picture.id, this.#sketches.get(picture.id) ?? this.#sketch(picture)])
    )
    placeChildren(this.#list, [...this.#sketches.values()])
    this.#list.hidden = pictures.length === 0
    this.#clear.hidden = pictures.length === 0
    this.#note.textContent =
      pictures.length === 0
        ? 'Your images are kept here, in this browser only.'
        : lasting
          ? 'Stored in this browser only.'
          : 'This browser stores nothing: the images are lost when you close the page.'
    this.#roving.refresh()
  }

  #sketch(picture: Picture): HTMLButtonElement {
    const { prompt, seed } = picture.recipe
    const { width, height } = shapeOf(picture)
    const image = el('img', { src: urlOf(picture), alt: '', loading: 'lazy', decoding: 'async', width, height })
    const sketch = el(
      'button',
      {
        type: 'button',
        role: 'option',
        className: 'sketch',
        title: short(prompt, SAID),
        ariaSelected: String(picture.id === this.#current),
        aria: { label: `${short(prompt, SAID)}, seed ${seed}` }
      },
      image
    )
    sketch.addEventListener('click', () => this.emit('open', picture))
    return sketch
  }
}
