import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { duration } from '../lib/format.js'
import { short } from '../lib/text.js'
import { describe } from './words.js'

/** Maximum characters of a prompt: enough to identify it. */
const SHOWN = 80

interface Events {
  /** `byHand`: the visitor pressed the button. */
  retry: { byHand: boolean }
  dismiss: undefined
}

/** Shows what went wrong, and when to retry. */
export class Notice extends Emitter<Events> {
  readonly #place = byId('notice', HTMLDivElement)
  #timer: ReturnType<typeof setInterval> | undefined

  hide(): void {
    clearInterval(this.#timer)
    this.#place.replaceChildren()
  }

  /**
   * @param retry whether to offer a retry
   * @param auto whether to retry automatically after the server's wait
   * @param about the failed prompt, if the form now holds another one
   */
  show(
    error: unknown,
    { retry = true, auto = false, about = '' }: { retry?: boolean; auto?: boolean; about?: string } = {}
  ): void {
    this.hide()
    const { title, text, wait, id } = describe(error)
    const message = el('div', { role: 'alert' }, el('p', { className: 'notice-title' }, title))
    if (about !== '') message.append(el('p', { className: 'notice-about', dir: 'auto' }, short(about, SHOWN)))
    message.append(el('p', { className: 'notice-text' }, text))
    if (id !== undefined) message.append(el('p', { className: 'notice-id' }, `Request ${id}`))
    const close = el('button', { type: 'button', className: 'quiet', aria: { label: 'Dismiss' } }, 'Dismiss')
    close.addEventListener('click', () => {
      this.hide()
      this.emit('dismiss', undefined)
    })
    const actions = el('div', { className: 'notice-actions' }, close)
    if (retry) actions.prepend(this.#retryButton(wait, auto && wait > 0))
    this.#place.replaceChildren(el('div', { className: 'notice' }, message, actions))
    // The notice is above the easel, which may be scrolled out of view.
    this.#place.scrollIntoView({ block: 'nearest' })
  }

  /** A button that counts down the wait, then enables itself or, with `auto`, retries. */
  #retryButton(wait: number, auto: boolean): HTMLButtonElement {
    const button = el('button', { type: 'button', className: 'retry' })
    const end = Date.now() + wait * 1000
    const again = (byHand: boolean) => {
      this.hide()
      this.emit('retry', { byHand })
    }
    const tick = () => {
      const left = Math.ceil((end - Date.now()) / 1000)
      button.disabled = left > 0
      button.textContent = left > 0 ? `Try again in ${duration(left)}` : 'Try again'
      if (left > 0) return
      clearInterval(this.#timer)
      if (auto) again(false)
    }
    this.#timer = setInterval(tick, 250)
    tick()
    button.addEventListener('click', () => again(true))
    return button
  }
}
