/** What this browser remembers under a name; undefined where there is nothing, or nothing that can be read. */
export function recall<T>(name: string): Partial<T> | undefined {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(name) ?? 'null')
    return typeof value === 'object' && value !== null ? (value as Partial<T>) : undefined
  } catch {
    return undefined
  }
}

/** Remembers a value, where the browser lets us. */
export function remember(name: string, value: object): void {
  try {
    localStorage.setItem(name, JSON.stringify(value))
  } catch {
    // A browser that keeps nothing has a page that remembers nothing.
  }
}
