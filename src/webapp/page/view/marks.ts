import { el } from '../lib/dom.js'

/** Where chunks of tokens begin in a text, and where it is cut; in UTF-16 units. */
interface Places {
  readonly chunk_starts: readonly number[]
  readonly cut_at: number | null
}

const NONE: Places = { chunk_starts: [], cut_at: null }

/**
 * Marks chunks and the cut in a text field: a copy of the text lies behind the field, with the same lines, and shows
 * only the marks.
 */
export class Marks {
  readonly #field: HTMLTextAreaElement
  readonly #copy: HTMLElement
  #places = NONE

  constructor(field: HTMLTextAreaElement) {
    this.#field = field
    this.#copy = field.parentElement!.querySelector<HTMLElement>('.marks')!
    field.addEventListener('scroll', () => this.#align())
    new ResizeObserver(() => this.#align()).observe(field)
  }

  /** Shows the marks for a text. */
  show(text: string, places: Places): void {
    this.#places = places
    this.write(text)
  }

  /** Keeps the marks at their places in a text that has changed, until its own are known. */
  write(text: string): void {
    const { chunk_starts: starts, cut_at: cut } = this.#places
    const inner = starts.filter((start) => start > 0 && start < text.length && (cut === null || start < cut))
    const edges = [0, ...inner, ...(cut === null || cut >= text.length ? [] : [cut]), text.length]
    const parts = edges.slice(1).map((end, index) => {
      const start = edges[index]!
      const className = start === cut ? 'cut' : index === 0 ? '' : 'chunk'
      return el('span', { className }, text.slice(start, end))
    })
    // A final line break makes a line in the field only.
    this.#copy.replaceChildren(...parts, '\u200b')
    this.#align()
  }

  clear(): void {
    this.#places = NONE
    this.#copy.replaceChildren()
  }

  /** The field's scroll bar takes part of its width, on the left for text from right to left. */
  #align(): void {
    const { clientWidth, clientLeft, scrollTop } = this.#field
    const border = Number.parseFloat(getComputedStyle(this.#field).borderRightWidth)
    this.#copy.style.width = `${clientWidth + 2 * border}px`
    this.#copy.style.left = `${clientLeft - border}px`
    this.#copy.scrollTop = scrollTop
  }
}
