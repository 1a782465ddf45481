const NAME = 'easel.key'

/** The visitor's access key, kept for this tab until it is closed. */
export class KeyRing {
  #key: string | undefined

  constructor() {
    try {
      this.#key = sessionStorage.getItem(NAME) ?? undefined
    } catch {
      // The browser stores nothing: keep it until the page is closed.
    }
  }

  get(): string | undefined {
    return this.#key
  }

  set(key: string | undefined): void {
    this.#key = key
    try {
      if (key === undefined) sessionStorage.removeItem(NAME)
      else sessionStorage.setItem(NAME, key)
    } catch {
      // The browser stores nothing, as above.
    }
  }
}
