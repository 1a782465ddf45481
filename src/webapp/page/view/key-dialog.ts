import { byId } from '../lib/dom.js'
import type { KeyRing } from '../model/keys.js'

/** Characters that a header can carry; empty to forget the key. */
const SENDABLE = /^[\x21-\x7e]*$/

/** Asks for the access key when the server requires one. */
export class KeyDialog {
  readonly #keys: KeyRing
  readonly #dialog = byId('key-dialog', HTMLDialogElement)
  readonly #field = byId('key', HTMLInputElement)
  readonly #error = byId('key-error', HTMLParagraphElement)
  readonly #open = byId('key-open', HTMLButtonElement)
  #then: () => void = () => undefined

  constructor(keys: KeyRing) {
    this.#keys = keys
    this.#open.hidden = keys.get() === undefined
    this.#open.addEventListener('click', () => this.ask(() => undefined, ''))
    byId('key-cancel', HTMLButtonElement).addEventListener('click', () => this.#dialog.close())
    byId('key-form', HTMLFormElement).addEventListener('submit', (event) => {
      const key = this.#field.value.trim()
      if (!SENDABLE.test(key)) {
        event.preventDefault()
        this.#error.textContent = 'A key has only ASCII characters and no spaces.'
        return
      }
      keys.set(key || undefined)
      this.#then()
    })
  }

  /** Opens the dialog unless it is open. @param then called when the visitor submits a key */
  ask(then: () => void, message = this.#keys.get() === undefined ? '' : 'The server does not accept this key.'): void {
    this.#open.hidden = false
    this.#error.textContent = message
    if (this.#dialog.open) return
    this.#then = then
    this.#field.value = this.#keys.get() ?? ''
    this.#dialog.showModal()
  }
}
