const NAME = 'easel.key'

/** The visitor's access key: for this tab only, and gone when it is closed. */
export class KeyRing {
  #key: string | undefined

  constructor() {
    try {
      this.#key = sessionStorage.getItem(NAME) ?? undefined
    } catch {
      // A browser that keeps nothing: then for as long as the page is open.
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
      // As above.
    }
  }
}
