import { byId, el, placeChildren } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { short } from '../lib/text.js'
import type { Entry, Hold } from '../model/queue.js'
import { sizeName } from '../model/settings.js'

/** Maximum characters of a prompt in a line. */
const SHOWN = 120

interface Events {
  /** The visitor cancelled the entry with this id. */
  cancel: number
}

/** The list of waiting requests, below the paint button. */
export class QueueList extends Emitter<Events> {
  readonly #box = byId('next', HTMLElement)
  readonly #head = byId('next-head', HTMLHeadingElement)
  readonly #list = byId('next-list', HTMLOListElement)
  readonly #paint = byId('generate', HTMLButtonElement)
  #rows = new Map<number, HTMLLIElement>()

  show({ waiting, holds }: { readonly waiting: readonly Entry[]; readonly holds: ReadonlySet<Hold> }): void {
    this.#box.hidden = waiting.length === 0
    this.#head.textContent = `${waiting.length} waiting${holds.has('model') ? ' for the model' : ''}`
    this.#rows = new Map(waiting.map((entry) => [entry.id, this.#rows.get(entry.id) ?? this.#row(entry)]))
    placeChildren(this.#list, [...this.#rows.values()])
  }

  #row({ id, request }: Entry): HTMLLIElement {
    const prompt = short(request.prompt, SHOWN)
    const { num_images: pictures = 1, width, height, model } = request
    const images = [
      ...(pictures > 1 ? [`${pictures}`] : []),
      ...(width === undefined || height === undefined ? [] : [sizeName(width, height)])
    ].join(' × ')
    const facts = [...(model === undefined ? [] : [model]), images].join(' · ')
    const cancel = el(
      'button',
      { type: 'button', className: 'quiet next-cancel', aria: { label: `Cancel ${prompt}` }, title: 'Cancel' },
      '×'
    )
    cancel.addEventListener('click', () => this.#cancel(id))
    return el(
      'li',
      {},
      el('span', { className: 'next-prompt', dir: 'auto' }, prompt),
      el('span', { className: 'hint' }, facts),
      cancel
    )
  }

  /** Moves the focus to the next cancel button, so that it is not lost. */
  #cancel(id: number): void {
    const index = [...this.#rows.keys()].indexOf(id)
    this.emit('cancel', id)
    const buttons = this.#list.querySelectorAll('button')
    ;(buttons[Math.min(index, buttons.length - 1)] ?? this.#paint).focus()
  }
}
