import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { PictureError } from './decode.js'
import type { Pixels } from './pixels.js'
import type { Preprocessor } from './preprocessors.js'

/** What a thread is started with. */
export interface Task {
  readonly picture: { readonly width: number; readonly height: number; readonly data: Uint8Array }
  readonly preprocessor: Preprocessor
}

const THREAD = new URL('lines/thread.mjs', import.meta.url)

/**
 * Draws the lines of a picture in a thread of its own, which ends with it. Takes 85 MiB and
 * up to 35 bytes a pixel there.
 *
 * @param picture RGB
 * @param seconds that it may take
 * @param signal stops it
 * @returns RGB of the same size: white lines on black
 * @throws PictureError when it takes longer; the signal's reason
 */
export async function preprocessed(
  picture: Pixels,
  preprocessor: Preprocessor,
  { seconds, signal }: { readonly seconds: number; readonly signal?: AbortSignal | undefined }
): Promise<Pixels> {
  if (preprocessor.name === 'none') return picture
  signal?.throwIfAborted()
  const { width, height } = picture
  // The thread gets the copy, so that nothing else has what it changes.
  const data = new Uint8Array(picture.data)
  const thread = new Worker(THREAD, {
    workerData: { picture: { width, height, data }, preprocessor },
    transferList: [data.buffer],
    env: {},
    stdin: false
  })
  const late = AbortSignal.timeout(seconds * 1000)
  const stop = signal === undefined ? late : AbortSignal.any([late, signal])
  try {
    const [lines] = (await once(thread, 'message', { signal: stop })) as [Uint8Array]
    return { width, height, channels: 3, data: Buffer.from(lines.buffer) }
  } catch (error) {
    signal?.throwIfAborted()
    if (!late.aborted) throw error
    throw new PictureError('slow', `takes more than ${seconds} s to draw lines of: send a smaller one`, error)
  } finally {
    await thread.terminate()
  }
}
