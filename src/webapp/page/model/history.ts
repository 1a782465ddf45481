import { Emitter } from '../lib/events.js'
import { inOrder, type Picture, release } from './picture.js'
import { memoryStore, openStore, type PictureStore } from './store.js'

export interface Bounds {
  pictures: number
  bytes: number
}

const BOUNDS: Bounds = { pictures: 200, bytes: 400 * 2 ** 20 }

interface Events {
  /** All pictures, as `inOrder` says. */
  change: readonly Picture[]
}

/** What was made in this browser. The oldest makes room for the newest. */
export class History extends Emitter<Events> {
  readonly #store: PictureStore
  readonly #bounds: Bounds
  #pictures: Picture[]
  /** The change under way; it never fails. */
  #last: Promise<void> = Promise.resolve()
  /** Whether the pictures are still there when the page is opened again. */
  readonly lasting: boolean

  constructor(store: PictureStore, pictures: Picture[], lasting: boolean, bounds: Bounds = BOUNDS) {
    super()
    this.#store = store
    this.#pictures = inOrder(pictures)
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

  /** Shows the picture once it is kept, so that what is seen is still there after a reload. */
  add(picture: Picture): Promise<void> {
    return this.#inTurn(async () => {
      // A full disk is no reason to lose the picture that is on the screen.
      await this.#store.put(picture).catch(() => undefined)
      this.#pictures = inOrder([picture, ...this.#pictures])
      this.emit('change', this.#pictures)
      await this.#drop(this.#pictures.slice(fitting(this.#pictures, this.#bounds)).map(({ id }) => id))
    })
  }

  /** Takes pictures away, first from where they are kept: what is not seen any more is gone. */
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

  /** One change after the other, in the order that they were asked for. */
  #inTurn(change: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(change)
    this.#last = turn.catch(() => undefined)
    return turn
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
