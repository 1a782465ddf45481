import { Emitter } from '../lib/events.js'
import { type Picture, release } from './picture.js'
import { memoryStore, openStore, type PictureStore } from './store.js'

export interface Bounds {
  pictures: number
  bytes: number
}

const BOUNDS: Bounds = { pictures: 200, bytes: 400 * 2 ** 20 }

interface Events {
  /** All pictures, newest first. */
  change: readonly Picture[]
}

/** What was made in this browser. The oldest makes room for the newest. */
export class History extends Emitter<Events> {
  readonly #store: PictureStore
  readonly #bounds: Bounds
  #pictures: Picture[]
  /** Whether the pictures are still there when the page is opened again. */
  readonly lasting: boolean

  constructor(store: PictureStore, pictures: Picture[], lasting: boolean, bounds: Bounds = BOUNDS) {
    super()
    this.#store = store
    this.#pictures = pictures
    this.lasting = lasting
    this.#bounds = bounds
  }

  /** Opens what this browser keeps; where it keeps nothing, a history for as long as the page is open. */
  static async open(): Promise<History> {
    try {
      const store = await openStore()
      return new History(store, await store.all(), true)
    } catch {
      return new History(memoryStore(), [], false)
    }
  }

  get pictures(): readonly Picture[] {
    return this.#pictures
  }

  async add(picture: Picture): Promise<void> {
    this.#pictures = [picture, ...this.#pictures]
    const dropped = this.#pictures.slice(fitting(this.#pictures, this.#bounds))
    this.emit('change', this.#pictures)
    await this.delete(dropped.map(({ id }) => id))
    // A full disk is no reason to lose the picture that is on the screen.
    await this.#store.put(picture).catch(() => undefined)
  }

  async delete(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    for (const picture of this.#pictures.filter(({ id }) => ids.includes(id))) release(picture)
    this.#pictures = this.#pictures.filter(({ id }) => !ids.includes(id))
    this.emit('change', this.#pictures)
    await this.#store.delete(ids).catch(() => undefined)
  }

  clear(): Promise<void> {
    return this.delete(this.#pictures.map(({ id }) => id))
  }
}

/** How many of the newest fit. The newest always does. */
export function fitting(pictures: readonly Pick<Picture, 'blob'>[], bounds: Bounds): number {
  let bytes = 0
  const over = pictures.findIndex(({ blob }, index) => {
    bytes += blob.size
    return index > 0 && (index >= bounds.pictures || bytes > bounds.bytes)
  })
  return over === -1 ? pictures.length : over
}
