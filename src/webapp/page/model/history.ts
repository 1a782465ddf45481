import { Emitter } from '../lib/events.js'
import { inOrder, type Picture, release } from './picture.js'
import { memoryStore, openStore, type PictureStore } from './store.js'

export interface Bounds {
  pictures: number
  bytes: number
}

const BOUNDS: Bounds = { pictures: 200, bytes: 400 * 2 ** 20 }

interface Events {
  /** All pictures, in the order of `inOrder`. */
  change: readonly Picture[]
}

/** The pictures made in this browser. Beyond its bounds, the oldest are dropped. */
export class History extends Emitter<Events> {
  readonly #store: PictureStore
  readonly #bounds: Bounds
  #pictures: Picture[]
  /** The last change, which later ones wait for. Never rejects. */
  #last: Promise<void> = Promise.resolve()
  /** Whether the pictures persist when the page is closed. */
  readonly lasting: boolean

  constructor(store: PictureStore, pictures: Picture[], lasting: boolean, bounds: Bounds = BOUNDS) {
    super()
    this.#store = store
    this.#pictures = inOrder(pictures)
    this.lasting = lasting
    this.#bounds = bounds
  }

  /** Opens the stored history; if the browser stores nothing, one that lasts as long as the page. */
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

  /** Stores the picture before showing it, so that every visible picture survives a reload. */
  add(picture: Picture): Promise<void> {
    return this.#inTurn(async () => {
      // If storing fails, e.g. on a full disk, still show the picture.
      await this.#store.put(picture).catch(() => undefined)
      this.#pictures = inOrder([picture, ...this.#pictures])
      this.emit('change', this.#pictures)
      await this.#drop(this.#pictures.slice(fitting(this.#pictures, this.#bounds)).map(({ id }) => id))
    })
  }

  /** Deletes pictures from the store before hiding them, so that a hidden picture is really gone. */
  delete(ids: readonly string[]): Promise<void> {
    return this.#inTurn(() => this.#drop(ids))
  }

  clear(): Promise<void> {
    return this.#inTurn(() => this.#drop(this.#pictures.map(({ id }) => id)))
  }

  async #drop(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    await this.#store.delete(ids).catch(() => undefined)
    for (const picture of this.#pictures.filter(({ id }) => ids.includes(id))) release(picture)
    this.#pictures = this.#pictures.filter(({ id }) => !ids.includes(id))
    this.emit('change', this.#pictures)
  }

  /** Runs changes one at a time, in the order requested. */
  #inTurn(change: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(change)
    this.#last = turn.catch(() => undefined)
    return turn
  }
}

/** How many of the newest pictures fit within the bounds; at least one. */
export function fitting(pictures: readonly Pick<Picture, 'blob'>[], bounds: Bounds): number {
  let bytes = 0
  const over = pictures.findIndex(({ blob }, index) => {
    bytes += blob.size
    return index > 0 && (index >= bounds.pictures || bytes > bounds.bytes)
  })
  return over === -1 ? pictures.length : over
}
