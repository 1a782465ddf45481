import { EaselError } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import { upscalerNamed } from '../../image/parameters.js'
import { type Upscaler, UPSCALER_NAMES } from '../../upscalers.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import type { SdapiTxt2ImgRequest } from '../../schemas/sdapi.js'
import { WITH_HIRES } from '../../schemas/sdapi-fields.js'
import type { Offer } from '../../service/offer.js'
import { checkOffered, checkSize } from '../../service/sizes.js'
import { isEmpty } from './empty.js'
import { refuseUnpainted } from './translate.js'

/** The web UI's. */
const SCALE = 2

/** The web UI's upscalers that enlarge pixels with a filter, as our default does. Its `None` is its `Lanczos`. */
const FILTERS: ReadonlySet<string> = new Set(['lanczos', 'none'])

interface Size {
  readonly width: number
  readonly height: number
}

/**
 * Translates the second pass of a request ("hires fix").
 *
 * @param offer of its model; undefined before the model's first worker, whose requests are refused
 * @throws EaselError 400 for a field that asks for what Easel does not do, and for a size that is not offered; 503 for
 *   one that is still being compiled
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/processing.py#L1178-L1246
 */
export function secondPassOf(
  request: SdapiTxt2ImgRequest,
  offer: Pick<Offer, 'sizes' | 'compiling' | 'defaults'> | undefined
): Pick<GenerateRequest, 'hires'> {
  if (request.enable_hr !== true || offer === undefined) return {}
  refuseUnpainted(request, WITH_HIRES)
  const upscaler = upscalerOf(request.hr_upscaler)
  const first = { width: request.width ?? offer.defaults.width, height: request.height ?? offer.defaults.height }
  const { field, ...size } = enlarged(request, first)
  checkSize(first, offer)
  checkOffered(size, offer, () => field)
  const { denoising_strength: strength, hr_second_pass_steps: steps } = request
  // The web UI's 0 means the steps of the first pass.
  return {
    hires: {
      ...size,
      ...(strength == null ? {} : { strength }),
      ...(steps ? { num_inference_steps: steps } : {}),
      ...(upscaler === 'bicubic' ? {} : { upscaler })
    }
  }
}

/** The size of the second pass, and the field that decides it. */
function enlarged(
  { hr_scale: scale, hr_resize_x: x, hr_resize_y: y }: SdapiTxt2ImgRequest,
  { width, height }: Size
): Size & { readonly field: string } {
  if (x && y) {
    if (x * height !== y * width)
      throw new EaselError(
        'UNSUPPORTED_FEATURE',
        `hr_resize_x and hr_resize_y must have the aspect ratio of ${width}x${height}: Easel does not cut what it enlarges`,
        { field: 'hr_resize_x' }
      )
    return { width: x, height: y, field: 'hr_resize_x' }
  }
  if (x) return { width: x, height: Math.floor((x * height) / width), field: 'hr_resize_x' }
  if (y) return { width: Math.floor((y * width) / height), height: y, field: 'hr_resize_y' }
  const by = scale ?? SCALE
  return { width: Math.trunc(width * by), height: Math.trunc(height * by), field: 'hr_scale' }
}

function upscalerOf(name: SdapiTxt2ImgRequest['hr_upscaler']): Upscaler {
  if (name == null || isEmpty(name) || FILTERS.has(name.toLowerCase())) return 'bicubic'
  const found = upscalerNamed(name)
  if (found !== undefined) return found
  throw new EaselError(
    'UNSUPPORTED_FEATURE',
    `hr_upscaler must be one of ${Object.values(UPSCALER_NAMES).join(', ')}, not ${JSON.stringify(excerpt(name))}: Easel has no upscaling models, and Lanczos and None mean ${UPSCALER_NAMES.bicubic} here`,
    { field: 'hr_upscaler' }
  )
}
