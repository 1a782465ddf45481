type Listener<T> = (detail: T) => void

/** A typed event emitter; `Events` maps event names to their details. */
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
