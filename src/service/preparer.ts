import { EaselError } from '../errors.js'
import type { Picture } from '../image/encoder.js'
import type { Hold } from '../memory.js'
import { type Pixels, rgbOf, type Size } from '../pictures/pixels.js'
import type { PictureFiles, PictureReader } from '../pictures/reader.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Admission } from './admission.js'
import type { Caller } from './caller.js'
import { once } from './once.js'
import type { Plan, Planner } from './planner.js'
import { resizeModeOf, sizeFor } from './starts.js'

/** The pictures of a request. */
export interface RequestPictures extends PictureFiles {
  /** Keeps their files until the returned function is called. */
  readonly keep: () => () => void
}

/** Puts an image into the picture that it is a part of. */
export type Overlay = (pixels: Uint8Array) => Promise<Picture>

/** A request whose pictures are decoded. */
export interface Prepared {
  readonly plan: Plan
  /** Undefined if an image is the whole answer. */
  readonly overlay: Overlay | undefined
  /** Frees the pictures. */
  readonly release: () => void
}

export interface PreparerOptions {
  planner: Planner
  admission: Admission
  pictures: PictureReader
}

/** Makes plans for requests that start from pictures. */
export class Preparer {
  readonly #options: PreparerOptions

  constructor(options: PreparerOptions) {
    this.#options = options
  }

  /**
   * Plans a request and decodes its pictures. What is wrong with the request is found before any pixel is decoded. Its
   * time runs from here on, so it also covers the wait for a decoder.
   *
   * @param files the pictures; the request has their digests in their place
   * @param left fires when the client has left
   * @throws EaselError when the request is refused; nothing is held then
   */
  async prepare(
    request: GenerateRequest,
    caller: Caller,
    files: RequestPictures,
    left: AbortSignal
  ): Promise<Prepared> {
    const { planner, admission, pictures } = this.#options
    const start = performance.now()
    const time = planner.timeoutOf(request, caller)
    const late = new AbortController()
    const expiry = setTimeout(() => late.abort(new EaselError('DEADLINE_EXCEEDED')), time)
    const signal = AbortSignal.any([left, late.signal])
    const padding = request.padding_mask_crop
    const letGo = files.keep()
    const held = [letGo]
    const release = once(() => {
      for (const free of held) free()
    })
    let plan: Plan | undefined
    try {
      const model = planner.admit(request, caller)
      const { image, mask, region } = await pictures.prepare(files, {
        mode: resizeModeOf(request),
        padding,
        signal,
        choose: (picture) => {
          const sized = { ...request, ...sizeFor(picture, model.served.capabilities!.sizes, request) }
          plan = planner.plan(sized, caller, model, padding === undefined ? undefined : picture)
          const { width, height } = plan.job
          const hold: Hold = admission.holdInputs(
            { width, height },
            width * height * (files.mask === undefined ? 3 : 4)
          )
          held.push(() => hold.release())
          return { width, height }
        }
      })
      const { job } = plan!
      if (region === undefined) letGo()
      return {
        plan: {
          ...plan!,
          timeout: Math.max(1, time - (performance.now() - start)),
          job: { ...job, frames: mask === undefined ? [image.data] : [image.data, mask.data] }
        },
        overlay: region && overlayOf(job, (pixels) => pictures.overlay(pixels, files, region)),
        release
      }
    } catch (error) {
      release()
      throw error
    } finally {
      clearTimeout(expiry)
    }
  }
}

/** @param size of the images */
function overlayOf(size: Size, put: (image: Pixels) => Promise<Pixels>): Overlay {
  return async (pixels) => {
    const whole = await put(rgbOf(size, pixels))
    return { width: whole.width, height: whole.height, pixels: whole.data }
  }
}
