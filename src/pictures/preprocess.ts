import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { PictureError } from './decode.js'
import type { Pixels } from './pixels.js'
import type { Preprocessor } from './preprocessors.js'

/** What a thread is told. It answers with the pixels, or with an error. */
export interface Task {
  readonly picture: { readonly width: number; readonly height: number; readonly data: Uint8Array }
  readonly preprocessor: Preprocessor
}

const THREAD = new URL('lines/thread.mjs', import.meta.url)

/** How long a thread is kept for the next picture, in ms. */
const IDLE_MS = 30_000

/** A thread's memory never shrinks: one that had a larger picture than this, in pixels, is not kept. */
const MOST_KEPT = 1 << 21

interface Idle {
  readonly thread: Worker
  readonly timer: NodeJS.Timeout
  /** Listens for the thread's exit while it is kept. */
  readonly onExit: () => void
}

/**
 * Draws the lines of pictures in threads. Loading OpenCV takes a thread longer than a picture does, so one that is done is
 * kept for a while, one at a time. A thread takes 85 MiB and up to 35 bytes for each pixel of its largest picture.
 */
export class LineThreads {
  #idle: Idle | undefined

  /**
   * @param picture RGB
   * @param seconds that it may take
   * @param signal stops it
   * @returns RGB of the same size: white lines on black
   * @throws PictureError when it takes longer; the signal's reason
   */
  async preprocessed(
    picture: Pixels,
    preprocessor: Preprocessor,
    { seconds, signal }: { readonly seconds: number; readonly signal?: AbortSignal | undefined }
  ): Promise<Pixels> {
    if (preprocessor.name === 'none') return picture
    signal?.throwIfAborted()
    const { width, height } = picture
    const thread = this.#take() ?? started()
    const late = AbortSignal.timeout(seconds * 1000)
    const stop = signal === undefined ? late : AbortSignal.any([late, signal])
    let keep = false
    try {
      const answer = once(thread, 'message', { signal: stop })
      // The thread gets the copy, so that nothing else has what it changes.
      const data = new Uint8Array(picture.data)
      thread.postMessage({ picture: { width, height, data }, preprocessor } satisfies Task, [data.buffer])
      const [lines] = (await answer) as [Uint8Array]
      keep = width * height <= MOST_KEPT
      return { width, height, channels: 3, data: Buffer.from(lines.buffer) }
    } catch (error) {
      signal?.throwIfAborted()
      if (!late.aborted) throw error
      throw new PictureError('slow', `takes more than ${seconds} s to draw lines of: send a smaller one`, error)
    } finally {
      if (!keep || !this.#keep(thread)) await thread.terminate()
    }
  }

  #take(): Worker | undefined {
    const idle = this.#idle
    if (idle === undefined) return undefined
    this.#idle = undefined
    clearTimeout(idle.timer)
    idle.thread.off('exit', idle.onExit)
    idle.thread.ref()
    return idle.thread
  }

  /** Whether the thread is kept. A kept thread does not keep the process. */
  #keep(thread: Worker): boolean {
    if (this.#idle !== undefined) return false
    const end = () => {
      this.#take()
      void thread.terminate()
    }
    thread.unref()
    this.#idle = { thread, timer: setTimeout(end, IDLE_MS).unref(), onExit: end }
    thread.once('exit', end)
    return true
  }
}

function started(): Worker {
  const thread = new Worker(THREAD, { env: {}, stdin: false })
  // Without a listener an error of a kept thread would end the process.
  thread.on('error', () => undefined)
  return thread
}
