import pLimit from 'p-limit'
import { EaselError } from '../errors.js'
import { unlessAborted } from '../unless-aborted.js'
import { cropRegionOf, type Region } from './crop-region.js'
import {
  decode,
  decodeAlpha,
  type DecodeLimits,
  hasHoles,
  PictureError,
  type PictureProblem,
  sizeOf
} from './decode.js'
import type { ResizeMode } from './fit.js'
import type { MaskMeaning } from './mask-meaning.js'
import type { Pixels, Size } from './pixels.js'
import { LineThreads } from './preprocess.js'
import type { Preprocessor } from './preprocessors.js'
import { cropped, inverted, luminance, overlaid, resized, resizedMask } from './transform.js'

/** A picture's file as a client sent it. */
export interface PictureFile {
  /** The request's field. */
  readonly field: string
  /** Reads the whole file. */
  readonly read: () => Promise<Buffer>
}

export interface PictureFiles {
  readonly image: PictureFile
  readonly mask?: PictureFile | undefined
  readonly maskMeaning: MaskMeaning
}

/** What an image starts from, at its own size, and what of the original it replaces. */
export interface Prepared {
  readonly image: Pixels
  /** 255 where the image is repainted, else 0. */
  readonly mask?: Pixels | undefined
  /** Set if only this part of the original is painted, to be put back by `overlay`. */
  readonly region?: Region | undefined
}

function isSize(a: Size, b: Size): boolean {
  return a.width === b.width && a.height === b.height
}

export interface Preparation {
  /**
   * Decides the size of the image to be made from that of the picture, before any pixel is decoded. Throws to refuse.
   */
  readonly choose: (picture: Size) => Size
  readonly mode: ResizeMode
  /** Pixels around the mask, to paint only that part at the image's full size; undefined to paint all. */
  readonly padding?: number | undefined
  /** Rejects with its reason at once when it fires, also while others are decoded. */
  readonly signal?: AbortSignal | undefined
}

/** What a control picture is to be. */
export interface ControlPreparation {
  /** The sizes to have it at. */
  readonly sizes: readonly Size[]
  readonly mode: ResizeMode
  readonly preprocessor: Preprocessor
  /** As in `Preparation`. */
  readonly signal?: AbortSignal | undefined
}

export interface ReaderOptions extends DecodeLimits {
  /** Pictures decoded at once. */
  readonly concurrency: number
  readonly observer: ReaderObserver
}

export interface ReaderObserver {
  /** A file was decoded, in this many seconds. */
  pictureDecoded: (seconds: number) => void
  pictureRefused: (problem: PictureProblem) => void
}

/**
 * Decodes clients' pictures on libuv's threads, few at a time: what one takes while it is decoded is not in the memory
 * budget (docs/capacity.md). The files of those that wait stay on the disk.
 */
export class PictureReader {
  readonly #options: ReaderOptions
  readonly #limit: ReturnType<typeof pLimit>
  readonly #lines = new LineThreads()

  constructor(options: ReaderOptions) {
    this.#options = options
    this.#limit = pLimit(options.concurrency)
  }

  /** Most pixels of a picture. */
  get maxPixels(): number {
    return this.#options.maxPixels
  }

  /**
   * Decodes a picture and its mask, and brings them to the size of the image to be made.
   *
   * @throws EaselError INVALID_PICTURE or LIMIT_EXCEEDED with the field; what `choose` throws
   */
  prepare(files: PictureFiles, preparation: Preparation): Promise<Prepared> {
    const { choose, mode, padding, signal } = preparation
    return this.#alone(signal, async () => {
      const file = await files.image.read()
      const size = await this.#checked(files.image, file)
      const maskFile = files.mask && (await files.mask.read())
      const maskSize = files.mask && (await this.#checked(files.mask, maskFile!))
      if (padding !== undefined && maskSize !== undefined && !isSize(maskSize, size))
        throw new EaselError(
          'INVALID_REQUEST',
          `mask_image must have the size of image with padding_mask_crop, ${size.width}x${size.height}`,
          { field: 'mask_image' }
        )
      // After an abort nobody frees what `choose` holds.
      signal?.throwIfAborted()
      const target = choose(size)
      if (maskFile === undefined) return { image: await resized(await this.#decoded(files.image, file), target, mode) }
      const mask = await this.#mask(files, maskFile)
      signal?.throwIfAborted()
      if (padding === undefined)
        return {
          image: await resized(await this.#decoded(files.image, file), target, mode),
          mask: await resizedMask(mask, target, mode)
        }
      const region = cropRegionOf(mask, target, padding)
      if (region === undefined)
        throw new EaselError('INVALID_PICTURE', 'mask_image is black: it must be white where the image is repainted', {
          field: 'mask_image'
        })
      return {
        image: await resized(await cropped(await this.#decoded(files.image, file), region), target, mode),
        mask: await resizedMask(await cropped(mask, region), target, mode),
        region
      }
    })
  }

  /**
   * Decodes a control picture, brings it to each of the sizes, and makes there of it what the net takes.
   *
   * @returns RGB of each size
   * @throws EaselError INVALID_PICTURE or LIMIT_EXCEEDED with the field
   */
  control(file: PictureFile, { sizes, mode, preprocessor, signal }: ControlPreparation): Promise<Pixels[]> {
    return this.#alone(signal, async () => {
      const picture = await this.#opened(file)
      const made: Pixels[] = []
      for (const size of sizes) {
        const fitting = await resized(picture, size, mode)
        made.push(
          await this.#refusing(file, () =>
            this.#lines.preprocessed(fitting, preprocessor, { seconds: this.#options.seconds, signal })
          )
        )
      }
      return made
    })
  }

  /**
   * Decodes a picture, and reduces it if a side is longer than `most` pixels.
   *
   * @throws EaselError INVALID_PICTURE or LIMIT_EXCEEDED with the field
   */
  reference(file: PictureFile, most: number, signal?: AbortSignal): Promise<Pixels> {
    return this.#alone(signal, async () => {
      const picture = await this.#opened(file)
      const scale = Math.min(1, most / Math.max(picture.width, picture.height))
      const side = (length: number) => Math.max(1, Math.round(length * scale))
      return resized(picture, { width: side(picture.width), height: side(picture.height) }, 'default')
    })
  }

  /**
   * Whether parts of a picture are transparent.
   *
   * @throws EaselError INVALID_PICTURE or LIMIT_EXCEEDED with the field
   */
  hasHoles(picture: PictureFile): Promise<boolean> {
    return this.#limit(async () => {
      const file = await picture.read()
      await this.#checked(picture, file)
      return this.#refusing(picture, () => hasHoles(file, this.#options))
    })
  }

  /** Brings pixels to a size, stretched. */
  scale(pixels: Pixels, size: Size): Promise<Pixels> {
    return this.#limit(() => resized(pixels, size, 'default'))
  }

  /** Puts an image back into the region of the original for which it was made. */
  overlay(image: Pixels, files: PictureFiles, region: Region): Promise<Pixels> {
    return this.#limit(async () => {
      const original = await this.#decoded(files.image, await files.image.read())
      const mask = await this.#mask(files, await files.mask!.read())
      return overlaid(image, original, mask, region)
    })
  }

  /** Does something when no more than `concurrency` others do. Rejects at once when the signal fires. */
  #alone<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    const result = this.#limit(() => {
      signal?.throwIfAborted()
      return work()
    })
    return signal === undefined ? result : unlessAborted(result, signal)
  }

  /** Checks a file and decodes it. */
  async #opened(picture: PictureFile): Promise<Pixels> {
    const file = await picture.read()
    await this.#checked(picture, file)
    return this.#decoded(picture, file)
  }

  /** The mask as one channel, white where the image is repainted, at its own size. */
  async #mask({ mask, maskMeaning }: PictureFiles, file: Buffer): Promise<Pixels> {
    if (maskMeaning !== 'transparent') {
      const brightness = await luminance(await this.#decoded(mask!, file))
      return maskMeaning === 'white' ? brightness : inverted(brightness)
    }
    return inverted(await this.#counted(mask!, () => decodeAlpha(file, this.#options)))
  }

  #decoded(picture: PictureFile, file: Buffer): Promise<Pixels> {
    return this.#counted(picture, () => decode(file, this.#options))
  }

  async #counted(picture: PictureFile, read: () => Promise<Pixels>): Promise<Pixels> {
    const start = performance.now()
    const pixels = await this.#refusing(picture, read)
    this.#options.observer.pictureDecoded((performance.now() - start) / 1000)
    return pixels
  }

  #checked(picture: PictureFile, file: Buffer): Promise<Size> {
    return this.#refusing(picture, () => sizeOf(file, this.#options))
  }

  async #refusing<T>({ field }: PictureFile, read: () => Promise<T>): Promise<T> {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof PictureError)) throw error
      this.#options.observer.pictureRefused(error.problem)
      const code = error.problem === 'pixels' ? 'LIMIT_EXCEEDED' : 'INVALID_PICTURE'
      throw new EaselError(code, `${field} ${error.message}`, { field, cause: error })
    }
  }
}
