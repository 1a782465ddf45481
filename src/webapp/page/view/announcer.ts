import { byId } from '../lib/dom.js'

const TOAST_MS = 2500
/** Long enough to notice a mistake and reach the button. */
const UNDO_MS = 8000

/** Announces what happened to screen readers and, on request, visibly with an undo button. */
export class Announcer {
  readonly #live = byId('announce', HTMLParagraphElement)
  readonly #toast = byId('toast', HTMLDivElement)
  readonly #text = byId('toast-text', HTMLParagraphElement)
  readonly #undo = byId('undo', HTMLButtonElement)
  #timer: ReturnType<typeof setTimeout> | undefined
  #back: (() => void) | undefined

  constructor() {
    this.#undo.addEventListener('click', () => this.undo())
    // Keep it open while the pointer or focus is on it, so that there is time to press the button.
    for (const name of ['pointerenter', 'focusin']) this.#toast.addEventListener(name, () => clearTimeout(this.#timer))
    for (const name of ['pointerleave', 'focusout'])
      this.#toast.addEventListener(name, () => this.#hideAfter(this.#back === undefined ? TOAST_MS : UNDO_MS))
  }

  /** Announces to screen readers only. */
  say(text: string): void {
    if (this.#live.textContent !== text) this.#live.textContent = text
  }

  /** Shows the text briefly to everyone. @param back undoes the action; with it, the text stays longer */
  show(text: string, back?: () => void): void {
    this.say(back === undefined ? text : `${text}. Press Control Z to undo.`)
    this.#text.textContent = text
    this.#back = back
    this.#undo.hidden = back === undefined
    this.#toast.dataset['shown'] = ''
    this.#hideAfter(back === undefined ? TOAST_MS : UNDO_MS)
  }

  /** Undoes the last action, if possible. @returns whether it did */
  undo(): boolean {
    const back = this.#back
    this.#hide()
    back?.()
    return back !== undefined
  }

  /** Focuses the undo button, for when the button just pressed is gone. */
  focusUndo(): void {
    this.#undo.focus({ preventScroll: true })
  }

  #hideAfter(ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#hide(), ms)
  }

  #hide(): void {
    clearTimeout(this.#timer)
    this.#back = undefined
    this.#undo.hidden = true
    delete this.#toast.dataset['shown']
  }
}
