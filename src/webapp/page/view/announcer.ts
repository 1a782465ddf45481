import { byId } from '../lib/dom.js'

const TOAST_MS = 2500

/** Tells what happened: to screen readers, and where asked for also to the eye. */
export class Announcer {
  readonly #live = byId('announce', HTMLParagraphElement)
  readonly #toast = byId('toast', HTMLParagraphElement)
  #timer: ReturnType<typeof setTimeout> | undefined

  /** For screen readers. */
  say(text: string): void {
    if (this.#live.textContent !== text) this.#live.textContent = text
  }

  /** For everyone, for a moment. */
  show(text: string): void {
    this.say(text)
    this.#toast.textContent = text
    this.#toast.dataset['shown'] = ''
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => delete this.#toast.dataset['shown'], TOAST_MS)
  }
}
