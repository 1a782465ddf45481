import { randomUUID } from 'node:crypto'
import type { ServedModel } from '../workers/served-model.js'
import { type ChipSeconds, total } from '../workers/chip-ledger.js'
import type { Share } from '../workers/fair-queue.js'
import type { Job, JobListener, JobProgress, RawImage } from '../workers/job.js'
import type { ImageEncoder } from '../image/encoder.js'
import type { Format } from '../image/formats.js'
import type { Recipe } from '../image/recipe.js'
import type { MemoryBudget } from '../memory.js'
import type { Defaults } from '../parameters.js'
import { rgbOf, type Size } from '../pictures/pixels.js'
import type { PictureReader } from '../pictures/reader.js'
import { unlessAborted } from '../unless-aborted.js'
import type { Timings } from '../workers/protocol.js'
import type { Continuation } from './continuation.js'
import { type Decided, recipeOf } from './decisions.js'
import type { Overlay } from './preparer.js'
import type { ImageFile, Run, RunTimings } from './run.js'
import type { RunMemory } from './run-memory.js'
import type { Begun, SecondPass } from './second-pass.js'

export interface RunExecutorOptions {
  encoder: ImageEncoder
  memory: MemoryBudget
  pictures: PictureReader
  defaults: Defaults
  /** Whether to embed the recipe in image files. */
  embedRecipe: boolean
  version: string
  observer: RunExecutorObserver
}

export interface RunExecutorObserver {
  /** An image file was made. */
  file: (image: { seconds: number; format: Format; bytes: number; width: number; height: number }) => void
}

/** An accepted request and everything needed to run it. */
export interface Execution {
  run: Run
  model: ServedModel
  job: Job
  share: Share
  /** Undefined for images of one pass. */
  second: SecondPass | undefined
  resolved: Decided
  /** ms */
  timeout: number
  memory: RunMemory
  /** Puts an image into the picture that it is a part of; undefined if it is the whole answer. */
  overlay: Overlay | undefined
  continuation: Continuation | undefined
}

/** Runs an accepted request: turns the workers' progress into run events, and pixels into image files. */
export class RunExecutor {
  readonly #options: RunExecutorOptions

  constructor(options: RunExecutorOptions) {
    this.#options = options
  }

  /** Runs the request until the run has ended. Never throws. */
  async execute(execution: Execution): Promise<void> {
    const { run, model, job, share, second, timeout, memory, continuation } = execution
    const start = performance.now()
    const files: Promise<Made>[] = []
    const of = job.steps + (second?.steps ?? 0)
    const listener: JobListener = {
      reserve: () => memory.reserve(),
      waiting: (ahead, seconds) => run.emit({ type: 'queued', position: ahead, estimate_seconds: seconds ?? null }),
      started: () => run.emit({ type: 'started' }),
      progress: (progress) => this.#progress(execution, { ...progress, of }),
      image: (index, raw) => {
        memory.arrived()
        const file = this.#made(execution, raw, index, start).finally(() => memory.encoded())
        // Avoid an unhandled rejection; Promise.all below reports failures.
        file.catch(() => undefined)
        files.push(file)
      },
      ...(continuation === undefined ? {} : { unfinished: continuation.to })
    }
    try {
      const unfinished = continuation?.from
      await model.generate(job, { id: randomUUID(), timeout, signal: run.signal, listener, share, unfinished })
      const made = await unlessAborted(Promise.all(files), run.signal)
      const images = made.map(({ image }) => image).sort((a, b) => a.index - b.index)
      const file_ms = Math.max(...made.map(({ ms }) => ms))
      run.succeed({
        images,
        used: usedBy(made),
        timings: { ...slowest(made), file_ms, total_ms: performance.now() - start }
      })
    } catch (error) {
      run.fail(error)
    }
  }

  /** Makes an image's file of its pixels, after the second pass if there is one. */
  async #made(execution: Execution, first: RawImage, index: number, start: number): Promise<Made> {
    const raw = execution.second === undefined ? first : await this.#enlarged(execution, first, index, start)
    return { ...(await this.#file(execution, raw, index)), timings: raw.timings, used: raw.used }
  }

  /** Runs the second pass over an image, on the weights that made it. @param start of the request, in ms */
  async #enlarged(execution: Execution, first: RawImage, index: number, start: number): Promise<RawImage> {
    const { run, model, job, share, second, timeout } = execution
    const { size, steps, fromLatents, job: jobOf } = second!
    const begun = fromLatents ? first : await this.#scaled(first, size)
    const [made] = await model.generate(jobOf(index, begun), {
      id: randomUUID(),
      timeout: timeout - (performance.now() - start),
      signal: run.signal,
      weights: first.model,
      share,
      listener: {
        progress: (progress) =>
          this.#progress(execution, {
            ...progress,
            image: index,
            step: job.steps + progress.step,
            of: job.steps + steps
          })
      }
    })
    return { ...made!, timings: sum(first.timings, made!.timings), used: usedBy([first, made!]) }
  }

  async #scaled(first: RawImage, size: Size): Promise<Begun> {
    const { data } = await this.#options.pictures.scale(rgbOf(first, first.pixels), size)
    return { pixels: data, latents: undefined }
  }

  #progress({ run, model, job }: Execution, { image, stage, step, of, preview }: JobProgress): void {
    if (stage === 'denoising') {
      const eta_seconds = model.secondsLeft(job.scheduler, of - step) ?? null
      run.emit({ type: 'progress', image, step, of, eta_seconds })
    }
    if (preview === undefined) return
    const { width, height, pixels } = preview
    // Previews are optional: skip one when memory is full or encoding fails.
    const hold = this.#options.memory.tryHold('pixels', pixels.length)
    if (hold === undefined) return
    this.#options.encoder
      .preview(preview)
      .then((jpeg) => run.emit({ type: 'preview', image, step, width, height, jpeg }))
      .catch(() => undefined)
      .finally(() => hold.release())
  }

  async #file(
    { run, resolved, overlay }: Execution,
    raw: RawImage,
    index: number
  ): Promise<Omit<Made, 'timings' | 'used'>> {
    const { encoder, embedRecipe, defaults, version, observer } = this.#options
    const start = performance.now()
    const { seed } = raw
    const picture = overlay === undefined ? raw : await overlay(raw.pixels)
    const { width, height } = picture
    const { output_format: format, quality } = resolved
    const { id, digest } = raw.model
    const recipe: Recipe = {
      ...recipeOf({ ...resolved, seed }, defaults, run.prompts.truncated.length > 0),
      model: id,
      model_digest: digest,
      version
    }
    const bytes = await encoder.encode(
      picture,
      { format, quality, recipe: embedRecipe ? recipe : undefined },
      run.signal
    )
    const ms = performance.now() - start
    observer.file({ seconds: ms / 1000, format, bytes: bytes.length, width, height })
    const image: ImageFile = { index, seed, format, width, height, bytes, recipe }
    run.emit({ type: 'image', image })
    return { image, ms }
  }
}

/** An image's file, how long the file took in ms, and how long the workers took. */
interface Made {
  readonly image: ImageFile
  readonly ms: number
  readonly timings: Timings
  readonly used: ChipSeconds | undefined
}

/** What images have used together; undefined if not all of their workers say. */
function usedBy(images: readonly Pick<Made, 'used'>[]): ChipSeconds | undefined {
  const known = images.flatMap(({ used }) => used ?? [])
  return known.length === images.length ? total(known) : undefined
}

/** The times of two passes together. */
function sum(first: Timings, second: Timings): Timings {
  return {
    queue_ms: first.queue_ms + second.queue_ms,
    encode_ms: first.encode_ms + second.encode_ms,
    denoise_ms: first.denoise_ms + second.denoise_ms,
    decode_ms: first.decode_ms + second.decode_ms
  }
}

/** The images of a request run in parallel, so report the slowest image for each stage. */
function slowest(images: readonly Pick<Made, 'timings'>[]): Omit<RunTimings, 'file_ms' | 'total_ms'> {
  const most = (name: keyof Timings) => Math.max(...images.map(({ timings }) => timings[name]))
  return {
    queue_ms: most('queue_ms'),
    encode_ms: most('encode_ms'),
    denoise_ms: most('denoise_ms'),
    decode_ms: most('decode_ms')
  }
}
