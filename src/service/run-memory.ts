import type { Hold, MemoryBudget } from '../memory.js'
import type { Run } from './run.js'

/** Memory per client in bytes: the chunks of its answer being sent. All clients of a run share the image files. */
export const CLIENT_BYTES = 128 * 1024

/** Size of a run's images as RGB pixels, in bytes. */
export function pixelBytesOf({ width, height, images }: { width: number; height: number; images: number }): number {
  return width * height * 3 * images
}

/**
 * Accounts for a run's memory through its life: pixels from worker to encoder, then image files, then answers that
 * clients are reading, then an answer kept for retries.
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

  /** Reserves memory for all pixels before the job goes to a worker. A retry on another worker keeps it. */
  reserve(): boolean {
    this.#pixels ??= this.#budget.tryHold('pixels', this.#expected * this.#imageBytes)
    return this.#pixels !== undefined
  }

  /** The pixels of one image have arrived. */
  arrived(): void {
    this.#arrived += 1
  }

  /** The pixels of one arrived image are no longer needed: it was encoded, or encoding failed. */
  encoded(): void {
    this.#arrived -= 1
    this.#expected -= 1
    this.#update()
  }

  #update(): void {
    const { ended, clients, kept, bytes } = this.#run
    // After the end no more pixels arrive, but those waiting for an encoder still exist.
    this.#pixels?.resize((ended ? this.#arrived : this.#expected) * this.#imageBytes)
    const read = ended && clients > 0
    this.#files.resize(ended ? 0 : bytes)
    this.#answers.resize((read ? bytes : 0) + clients * CLIENT_BYTES)
    this.#replays.resize(ended && kept && !read ? bytes : 0)
  }
}
