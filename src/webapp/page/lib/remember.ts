/** The value stored under a name; undefined if missing or unreadable. */
export function recall<T>(name: string): Partial<T> | undefined {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(name) ?? 'null')
    return typeof value === 'object' && value !== null ? (value as Partial<T>) : undefined
  } catch {
    return undefined
  }
}

/** Stores a value if the browser allows it. */
export function remember(name: string, value: object): void {
  try {
    localStorage.setItem(name, JSON.stringify(value))
  } catch {
    // The browser stores nothing: the page works without it.
  }
}
