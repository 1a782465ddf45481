import { EaselError } from '../errors.js'
import type { ResizeMode } from '../pictures/fit.js'
import type { Size } from '../pictures/pixels.js'
import type { GenerateRequest } from '../schemas/generate.js'
import { type Capabilities, PICTURE_FEATURES, PICTURES_ONLY } from '../workers/capabilities.js'
import type { Job } from '../workers/job.js'
import type { Decided } from './decisions.js'
import { unsupported } from './failures.js'

/** diffusers' defaults of strength: of its image-to-image pipeline, and of its inpainting one. */
const STRENGTH = { image: 0.3, mask: 0.9999 } as const

/** Fields that mean nothing without `image`. */
const ABOUT_IMAGES = ['mask_image', 'mask_from', 'strength', 'resize_mode', 'padding_mask_crop'] as const

type Start = Pick<Decided, 'image_sha256' | 'mask_image_sha256' | 'strength'>

/** What a request with a picture decides by itself. Its pictures are their digests here: whoever read them put them in. */
export function startOf({ image, mask_image, strength }: GenerateRequest): Start {
  if (image === undefined) return {}
  const by = mask_image === undefined ? 'image' : 'mask'
  return {
    image_sha256: image,
    ...(mask_image === undefined ? {} : { mask_image_sha256: mask_image }),
    strength: strength ?? STRENGTH[by]
  }
}

/**
 * Checks what a request says about the picture that it starts from.
 *
 * @throws EaselError 400 with the wrong field; 503 while the workers compile what it needs
 */
export function checkStart(request: GenerateRequest, decided: Decided, model: Capabilities): void {
  checkDigest(request, 'image')
  checkDigest(request, 'mask_image')
  const { image, mask_image: mask, resize_mode: mode, padding_mask_crop: padding } = request
  if (image === undefined) {
    const field = ABOUT_IMAGES.find((name) => request[name] !== undefined)
    if (field !== undefined) throw invalid(field, 'needs image: send the picture to start from, or leave it out')
    if (model.features.includes(PICTURES_ONLY))
      throw invalid('image', `must be sent: ${model.model.id} changes pictures and makes none from text alone`)
    return
  }
  if (!model.features.includes(PICTURE_FEATURES.image))
    throw unsupported(
      { name: 'image', feature: PICTURE_FEATURES.image },
      model,
      'must be left out: no worker starts from a picture'
    )
  if (mask === undefined) {
    if (request.mask_from !== undefined) throw invalid('mask_from', 'needs mask_image')
    if (padding !== undefined) throw invalid('padding_mask_crop', 'needs mask_image: it crops to the mask')
  } else if (!model.features.includes(PICTURE_FEATURES.mask))
    throw unsupported(
      { name: 'mask_image', feature: PICTURE_FEATURES.mask },
      model,
      'must be left out: no worker repaints parts of a picture'
    )
  if (padding !== undefined && (mode ?? 'fill') !== 'fill')
    throw invalid('resize_mode', 'must be fill with padding_mask_crop, or left out')
  checkStepsRun('strength', decided)
}

/** Steps that run: as diffusers' `get_timesteps`, whose products Python rounds as JavaScript does. */
export function stepsRun({
  strength = 1,
  num_inference_steps: steps
}: Pick<Decided, 'strength' | 'num_inference_steps'>): number {
  return Math.min(Math.trunc(steps * strength), steps)
}

/**
 * What a GENERATE says of the pictures: the steps that run, of how many, and the pictures' form.
 *
 * @see https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py#L649-L659
 */
export function startWireOf(decided: Decided): Partial<Pick<Job, 'steps' | 'schedule_steps' | 'pictures'>> {
  const { image_sha256: image, mask_image_sha256: mask, num_inference_steps: of, width, height } = decided
  if (image === undefined) return {}
  const steps = stepsRun(decided)
  return {
    steps,
    ...(steps === of ? {} : { schedule_steps: of }),
    pictures: [
      { role: 'image', width, height, channels: 3 },
      ...(mask === undefined ? [] : [{ role: 'mask' as const, width, height, channels: 1 as const }])
    ]
  }
}

/** How the pictures of a request are brought to its size. */
export function resizeModeOf({
  resize_mode,
  padding_mask_crop
}: Pick<Decided, 'resize_mode' | 'padding_mask_crop'>): ResizeMode {
  return resize_mode ?? (padding_mask_crop === undefined ? 'default' : 'fill')
}

/**
 * The offered size for a picture whose request states none, or only one side: the one whose aspect ratio is nearest, and
 * of equals the one whose area is. Undefined if no offered size has the stated side.
 */
export function sizeFor(
  picture: Size,
  sizes: readonly (readonly [width: number, height: number])[],
  { width, height }: Pick<GenerateRequest, 'width' | 'height'>
): Size | undefined {
  const distance = (a: number, b: number) => Math.abs(Math.log(a / b))
  const offered = sizes
    .filter(([w, h]) => (width ?? w) === w && (height ?? h) === h)
    .map(([w, h]) => ({
      width: w,
      height: h,
      ratio: distance(w / h, picture.width / picture.height),
      area: distance(w * h, picture.width * picture.height)
    }))
    .toSorted((a, b) => (Math.abs(a.ratio - b.ratio) > 1e-9 ? a.ratio - b.ratio : a.area - b.area))
  return offered[0] && { width: offered[0].width, height: offered[0].height }
}

/** A recipe's picture must be sent again, and be the same. */
function checkDigest(request: GenerateRequest, field: 'image' | 'mask_image'): void {
  const [given, wanted] = [request[field], request[`${field}_sha256`]]
  if (wanted === undefined || wanted === given) return
  throw invalid(
    field,
    given === undefined
      ? `must be sent: ${field}_sha256 says that it is the file with the SHA-256 ${wanted}`
      : `is another file than ${field}_sha256 says: its SHA-256 is ${given}, not ${wanted}`
  )
}

/** @param field the field that has the strength, or that is the strength. @throws EaselError if no step would run */
export function checkStepsRun(
  field: 'strength' | 'hires',
  pass: Pick<Decided, 'strength' | 'num_inference_steps'>
): void {
  const { num_inference_steps: steps } = pass
  if (stepsRun(pass) > 0) return
  const least = Math.ceil(10_000 / steps) / 10_000
  const what = field === 'strength' ? '' : 'strength '
  throw invalid(field, `${what}must be at least ${least}: with less, none of the ${steps} steps would run`)
}

function invalid(field: string, message: string): EaselError {
  return new EaselError('INVALID_REQUEST', `${field} ${message}`, { field })
}
