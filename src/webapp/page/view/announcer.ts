import { byId } from '../lib/dom.js'

const TOAST_MS = 2500
/** Time to notice that it was the wrong one, and to get to the button. */
const UNDO_MS = 8000

/** Tells what happened: to screen readers, and where asked for also to the eye, with a way back. */
export class Announcer {
  readonly #live = byId('announce', HTMLParagraphElement)
  readonly #toast = byId('toast', HTMLDivElement)
  readonly #text = byId('toast-text', HTMLParagraphElement)
  readonly #undo = byId('undo', HTMLButtonElement)
  #timer: ReturnType<typeof setTimeout> | undefined
  #back: (() => void) | undefined

  constructor() {
    this.#undo.addEventListener('click', () => this.undo())
    // Who has the button in reach gets the time to press it.
    for (const name of ['pointerenter', 'focusin']) this.#toast.addEventListener(name, () => clearTimeout(this.#timer))
    for (const name of ['pointerleave', 'focusout'])
      this.#toast.addEventListener(name, () => this.#hideAfter(this.#back === undefined ? TOAST_MS : UNDO_MS))
  }

  /** For screen readers. */
  say(text: string): void {
    if (this.#live.textContent !== text) this.#live.textContent = text
  }

  /** For everyone, for a moment. @param back what takes it back; it is offered for longer */
  show(text: string, back?: () => void): void {
    this.say(back === undefined ? text : `${text}. Control Z brings it back.`)
    this.#text.textContent = text
    this.#back = back
    this.#undo.hidden = back === undefined
    this.#toast.dataset['shown'] = ''
    this.#hideAfter(back === undefined ? TOAST_MS : UNDO_MS)
  }

  /** Takes back what can be taken back. @returns whether there was anything */
  undo(): boolean {
    const back = this.#back
    this.#hide()
    back?.()
    return back !== undefined
  }

  /** Brings the way back to the keyboard, where the button that was pressed is gone. */
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
