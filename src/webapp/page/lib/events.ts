type Listener<T> = (detail: T) => void

/** Who wants to hear of what, by the names and details that `Events` declares. */
export class Emitter<Events extends object> {
  readonly #listeners: { [K in keyof Events]?: Listener<Events[K]>[] } = {}

  on<K extends keyof Events>(name: K, listener: Listener<Events[K]>): this {
    this.#listeners[name] = [...(this.#listeners[name] ?? []), listener]
    return this
  }

  emit<K extends keyof Events>(name: K, detail: Events[K]): void {
    for (const listener of this.#listeners[name] ?? []) listener(detail)
  }
}
