/** A binary min-heap of numbers. */
export class MinHeap {
  readonly #keys: number[] = []

  push(key: number): void {
    const keys = this.#keys
    let index = keys.length
    keys.push(key)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if ((keys[parent] as number) <= key) break
      keys[index] = keys[parent] as number
      index = parent
    }
    keys[index] = key
  }

  /** Removes and returns the smallest key; undefined when empty. */
  pop(): number | undefined {
    const keys = this.#keys
    const top = keys[0]
    const last = keys.pop()
    if (last !== undefined && keys.length > 0) this.#sink(last)
    return top
  }

  #sink(key: number): void {
    const keys = this.#keys
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= keys.length) break
      if (child + 1 < keys.length && (keys[child + 1] as number) < (keys[child] as number)) child++
      if ((keys[child] as number) >= key) break
      keys[index] = keys[child] as number
      index = child
    }
    keys[index] = key
  }
}
