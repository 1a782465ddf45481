import type { Hold, MemoryBudget } from '../memory.js'
import type { Run } from './run.js'

/** What each connected client costs beside the files that all of them share: the pieces of its answer on their way to the socket. */
export const CLIENT_BYTES = 128 * 1024

/** What a run's images are as pixels, in bytes. */
export function pixelBytesOf({ width, height, images }: { width: number; height: number; images: number }): number {
  return width * height * 3 * images
}

/**
 * Counts what a run holds of the gateway's memory, wherever it is: pixels on their way from the worker and to an encoder,
 * then files, then answers that clients still read, then an answer that is kept for retries.
 */
export class RunMemory {
  readonly #budget: MemoryBudget
  readonly #run: Run
  /** Bytes of one image as pixels. */
  readonly #imageBytes: number
  #expected: number
  #arrived = 0
  #pixels: Hold | undefined
  readonly #files: Hold
  readonly #answers: Hold
  readonly #replays: Hold

  constructor(budget: MemoryBudget, run: Run, size: { width: number; height: number; images: number }) {
    this.#budget = budget
    this.#run = run
    this.#expected = size.images
    this.#imageBytes = pixelBytesOf({ ...size, images: 1 })
    this.#files = budget.hold('files', 0)
    this.#answers = budget.hold('answers', 0)
    this.#replays = budget.hold('replays', 0)
    run.onChange(() => this.#update())
  }

  /** Takes room for all the pixels, before a worker may begin. Once taken it stays, whatever worker makes them. */
  reserve(): boolean {
    this.#pixels ??= this.#budget.tryHold('pixels', this.#expected * this.#imageBytes)
    return this.#pixels !== undefined
  }

  /** The pixels of an image are there. */
  arrived(): void {
    this.#arrived += 1
  }

  /** The pixels of an image that arrived are of no more use: it is a file now, or never will be. */
  encoded(): void {
    this.#arrived -= 1
    this.#expected -= 1
    this.#update()
  }

  #update(): void {
    const { ended, clients, kept, bytes } = this.#run
    // After the end no more pixels come; those that wait for an encoder are still there.
    this.#pixels?.resize((ended ? this.#arrived : this.#expected) * this.#imageBytes)
    const read = ended && clients > 0
    this.#files.resize(ended ? 0 : bytes)
    this.#answers.resize((read ? bytes : 0) + clients * CLIENT_BYTES)
    this.#replays.resize(ended && kept && !read ? bytes : 0)
  }
}
