import { EaselError } from '../errors.js'
import type { Size } from '../pictures/pixels.js'
import type { LatentUpscaler } from '../upscalers.js'
import type { GenerateRequest } from '../schemas/generate.js'
import { type Capabilities, LATENTS } from '../workers/capabilities.js'
import type { Job, RawImage } from '../workers/job.js'
import type { Decided } from './decisions.js'
import { unsupported } from './failures.js'
import { checkOffered } from './sizes.js'
import { checkStepsRun, stepsRun } from './starts.js'

/** AUTOMATIC1111's default for its hires fix. */
const STRENGTH = 0.7

/** What a second pass begins from: RGB at its size, or latents of the first pass. */
export type Begun = Pick<RawImage, 'pixels' | 'latents'>

/** That of a job which is only looked at. */
export const NOTHING_YET: Begun = { pixels: new Uint8Array(), latents: undefined }

/** The same for latents. */
const UNKNOWN = { width: 1, height: 1, channels: 1 }

/** A second pass over each image of a request, at another size: image-to-image from the enlarged first image. */
export interface SecondPass {
  /** Of the finished images. */
  readonly size: Size
  /** Whether it begins from latents, which the worker enlarges, and not from enlarged pixels. */
  readonly fromLatents: boolean
  /** Steps that it runs. */
  readonly steps: number
  /**
   * The job for one image.
   *
   * @param index of the image
   */
  readonly job: (index: number, begun: Begun) => Job
}

/** What a request with `hires` decides by itself. Its fields have one order, so that equal requests make equal files. */
export function hiresOf({ hires }: Pick<GenerateRequest, 'hires'>): Pick<Decided, 'hires'> {
  if (hires === undefined) return {}
  const { width, height, strength = STRENGTH, num_inference_steps: steps } = hires
  const upscaler = latentUpscaler(hires)
  return {
    hires: {
      width,
      height,
      strength,
      ...(steps === undefined ? {} : { num_inference_steps: steps }),
      ...(upscaler === undefined ? {} : { upscaler })
    }
  }
}

/**
 * Checks what a request says about its second pass.
 *
 * @throws EaselError 400 with the wrong field; 503 while the size is still being compiled
 */
export function checkHires({ image }: Pick<GenerateRequest, 'image'>, decided: Decided, model: Capabilities): void {
  const { hires } = decided
  if (hires === undefined) return
  if (image !== undefined) throw invalid('must be left out with image: send the result as image to change it again')
  if (latentUpscaler(hires) !== undefined && !model.features.includes(LATENTS))
    throw unsupported(
      { name: 'hires', feature: LATENTS },
      model,
      'upscaler must be bicubic, or left out: no worker enlarges latents'
    )
  const { num_inference_steps: steps } = hires
  if (steps !== undefined && (decided.timesteps ?? decided.sigmas) !== undefined)
    throw invalid('must not have num_inference_steps with timesteps or sigmas, which decide the number')
  if (steps !== undefined && steps > model.limits.max_steps)
    throw new EaselError('LIMIT_EXCEEDED', `hires num_inference_steps must be at most ${model.limits.max_steps}`, {
      field: 'hires'
    })
  checkStepsRun('hires', passOf(decided, hires))
  checkOffered(hires, model, () => 'hires')
}

/** What the first pass's GENERATE says because of a second one. */
export function firstPassWireOf({ hires }: Decided): Pick<Job, 'output_type'> {
  return hires !== undefined && latentUpscaler(hires) !== undefined ? { output_type: 'latent' } : {}
}

/** The second pass of a request, if it has one. @param job of the first pass */
export function secondPassOf(job: Job, decided: Decided): SecondPass | undefined {
  const { hires } = decided
  if (hires === undefined) return undefined
  const { width, height } = hires
  const pass = passOf(decided, hires)
  const [steps, of] = [stepsRun(pass), pass.num_inference_steps]
  const upscaler = latentUpscaler(hires)
  const { schedule_steps: _steps, output_type: _type, ...rest } = job
  return {
    size: { width, height },
    fromLatents: upscaler !== undefined,
    steps,
    job: (index, { pixels, latents = UNKNOWN }) => ({
      ...rest,
      seeds: [job.seeds[index]!],
      width,
      height,
      steps,
      ...(steps === of ? {} : { schedule_steps: of }),
      ...(upscaler === undefined
        ? { pictures: [{ role: 'image', width, height, channels: 3 }] }
        : { latents_upscaler: upscaler, pictures: [{ role: 'latents', ...latents }] }),
      frames: [pixels]
    })
  }
}

/** A second pass whose images also have these pictures, after the one that they start from. */
export function withPictures(
  second: SecondPass,
  { pictures, frames }: Required<Pick<Job, 'pictures' | 'frames'>>
): SecondPass {
  return {
    ...second,
    job: (index, begun) => {
      const job = second.job(index, begun)
      return { ...job, pictures: [...job.pictures!, ...pictures], frames: [...job.frames!, ...frames] }
    }
  }
}

type Hires = NonNullable<Decided['hires']>

/** What enlarges the latents; undefined if pixels are enlarged. */
function latentUpscaler({ upscaler = 'bicubic' }: Hires): LatentUpscaler | undefined {
  return upscaler === 'bicubic' ? undefined : upscaler
}

/** @param hires as `hiresOf` decided it */
function passOf(
  { num_inference_steps: first }: Decided,
  { strength, num_inference_steps: steps = first }: Hires
): { strength: number; num_inference_steps: number } {
  return { strength: strength!, num_inference_steps: steps }
}

function invalid(message: string): EaselError {
  return new EaselError('INVALID_REQUEST', `hires ${message}`, { field: 'hires' })
}
