import { EaselError } from '../errors.js'
import type { Picture } from '../image/encoder.js'
import type { Hold } from '../memory.js'
import { type Pixels, rgbOf, type Size } from '../pictures/pixels.js'
import type { PictureFile, PictureFiles, PictureReader } from '../pictures/reader.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Job } from '../workers/job.js'
import type { PictureForm } from '../workers/protocol.js'
import type { Admission } from './admission.js'
import type { Caller } from './caller.js'
import { preprocessorOf } from './controls.js'
import type { Model } from './models.js'
import { once } from './once.js'
import type { Plan, Planner } from './planner.js'
import { withPictures } from './second-pass.js'
import { resizeModeOf, sizeFor } from './starts.js'

/** The pictures of a request. */
export interface RequestPictures {
  /** What its images start from. */
  readonly start: PictureFiles | undefined
  /** One for each entry of these fields. */
  readonly controls: readonly PictureFile[]
  readonly ipAdapters: readonly PictureFile[]
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

/** The longest side of a picture for an IP-Adapter, in pixels. Its encoder reduces it further. */
const MAX_REFERENCE = 1024

/** What one request's preparation needs besides the request. */
interface Preparation {
  readonly caller: Caller
  readonly model: Model
  readonly signal: AbortSignal
  /** Frees something when the pictures are no longer needed. */
  readonly onRelease: (free: () => void) => void
}

/** The form and the pixels of pictures in a job. */
interface Framed {
  readonly pictures: PictureForm[]
  readonly frames: Uint8Array[]
}

/** Makes plans for requests with pictures. */
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
    const { planner, pictures } = this.#options
    const start = performance.now()
    const time = planner.timeoutOf(request, caller)
    const late = new AbortController()
    const expiry = setTimeout(() => late.abort(new EaselError('DEADLINE_EXCEEDED')), time)
    const signal = AbortSignal.any([left, late.signal])
    const letGo = files.keep()
    const held = [letGo]
    const release = once(() => {
      for (const free of held) free()
    })
    try {
      const model = planner.admit(request, caller)
      const preparation = { caller, model, signal, onRelease: (free: () => void) => void held.push(free) }
      const begun = files.start && (await this.#begin(request, files.start, preparation))
      const plan = begun?.plan ?? planner.plan(request, caller, model)
      const [first, second] = await this.#conditions(plan, files, preparation)
      const region = begun?.region
      if (region === undefined) letGo()
      return {
        plan: {
          ...plan,
          timeout: Math.max(1, time - (performance.now() - start)),
          job: withFrames(plan.job, joined(begun?.framed, first)),
          second: plan.second && second && withPictures(plan.second, second)
        },
        overlay: region && overlayOf(plan.job, (pixels) => pictures.overlay(pixels, files.start!, region)),
        release
      }
    } catch (error) {
      release()
      throw error
    } finally {
      clearTimeout(expiry)
    }
  }

  /** Plans a request by the picture that it starts from, and decodes that. */
  async #begin(request: GenerateRequest, files: PictureFiles, preparation: Preparation) {
    const { planner, admission, pictures } = this.#options
    const { caller, model, signal, onRelease } = preparation
    const padding = request.padding_mask_crop
    let plan: Plan | undefined
    const { image, mask, region } = await pictures.prepare(files, {
      mode: resizeModeOf(request),
      padding,
      signal,
      choose: (picture) => {
        const sized = { ...request, ...sizeFor(picture, model.served.capabilities!.sizes, request) }
        plan = planner.plan(sized, caller, model, padding === undefined ? undefined : picture)
        const { width, height } = plan.job
        const hold = admission.holdInputs({ width, height }, width * height * (files.mask === undefined ? 3 : 4))
        onRelease(() => hold.release())
        return { width, height }
      }
    })
    const frames = mask === undefined ? [image.data] : [image.data, mask.data]
    return { plan: plan!, region, framed: { pictures: plan!.job.pictures!, frames } }
  }

  /**
   * Decodes the pictures of a plan's controls and IP-Adapters.
   *
   * @returns those of the first pass and, if there is one, of the second
   */
  async #conditions(
    { job, second, resolved }: Plan,
    files: RequestPictures,
    { signal, onRelease }: Preparation
  ): Promise<[first: Framed, second: Framed | undefined]> {
    const { admission, pictures } = this.#options
    const sizes = second === undefined ? [job] : [job, second.size]
    const pixels = sizes.reduce((sum, { width, height }) => sum + width * height, 0)
    const hold = (bytes: number, field: 'controls' | 'ip_adapters'): Hold => {
      const held = admission.holdInputs(sizes.at(-1)!, bytes, field)
      onRelease(() => held.release())
      return held
    }
    const passes = sizes.map((): Framed => ({ pictures: [], frames: [] }))
    const { controls = [], ip_adapters: adapters = [] } = resolved
    for (const [index, control] of controls.entries()) {
      hold(3 * pixels, 'controls')
      const made = await pictures.control(files.controls[index]!, {
        sizes,
        mode: control.resize_mode ?? 'default',
        preprocessor: preprocessorOf(control),
        signal
      })
      for (const [pass, picture] of made.entries()) add(passes[pass]!, 'control', picture)
    }
    for (const [index] of adapters.entries()) {
      const held = hold(3 * MAX_REFERENCE ** 2, 'ip_adapters')
      const picture = await pictures.reference(files.ipAdapters[index]!, MAX_REFERENCE, signal)
      held.resize(picture.data.length)
      for (const pass of passes) add(pass, 'ip_adapter', picture)
    }
    return [passes[0]!, passes[1]]
  }
}

function add({ pictures, frames }: Framed, role: PictureForm['role'], { width, height, channels, data }: Pixels): void {
  pictures.push({ role, width, height, channels })
  frames.push(data)
}

function joined(one: Framed | undefined, other: Framed): Framed {
  return one === undefined
    ? other
    : { pictures: [...one.pictures, ...other.pictures], frames: [...one.frames, ...other.frames] }
}

/** The job with its pictures, if there are any. */
function withFrames(job: Job, framed: Framed): Job {
  return framed.frames.length === 0 ? job : { ...job, ...framed }
}

/** @param size of the images */
function overlayOf(size: Size, put: (image: Pixels) => Promise<Pixels>): Overlay {
  return async (pixels) => {
    const whole = await put(rgbOf(size, pixels))
    return { width: whole.width, height: whole.height, pixels: whole.data }
  }
}
