import { EaselError } from '../../errors.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import type { SdapiImg2ImgRequest } from '../../schemas/sdapi.js'
import { WITH_MASK } from '../../schemas/sdapi-fields.js'
import { refuseUnpainted } from './translate.js'

/** The fields of our request about the picture that it starts from. */
type Start = Pick<
  GenerateRequest,
  'image' | 'mask_image' | 'mask_from' | 'strength' | 'resize_mode' | 'padding_mask_crop'
>

/** By `resize_mode`. The last one resizes latents. */
const RESIZE_MODES = ['default', 'crop', 'fill', undefined] as const

/**
 * Translates what a request says about its picture and its mask. The pictures are their digests here: whoever read them
 * put them in.
 *
 * @throws EaselError for a field that asks for what Easel does not do
 */
export function startOf(request: SdapiImg2ImgRequest): Start {
  const { init_images: images, mask, denoising_strength: strength } = request
  const mode = resizeModeOf(request)
  return {
    image: images[0]!,
    ...(strength == null ? {} : { strength }),
    ...(mask == null ? mode : { mask_image: mask, ...maskOf(request, mode) })
  }
}

function maskOf(request: SdapiImg2ImgRequest, mode: Pick<Start, 'resize_mode'>): Omit<Start, 'image'> {
  refuseUnpainted(request, WITH_MASK)
  const { inpainting_mask_invert: inverted, inpaint_full_res: part, inpaint_full_res_padding: padding } = request
  return {
    ...(inverted ? { mask_from: 'black' } : {}),
    // Whatever resize_mode says, the web UI fills the size with the part around the mask.
    ...(part ? { padding_mask_crop: padding ?? 0 } : mode)
  }
}

function resizeModeOf({ resize_mode: mode }: SdapiImg2ImgRequest): Pick<Start, 'resize_mode'> {
  if (mode == null) return {}
  const found = RESIZE_MODES[mode]
  if (found !== undefined) return { resize_mode: found }
  throw new EaselError('UNSUPPORTED_FEATURE', 'resize_mode must be 0, 1 or 2: Easel does not resize latents', {
    field: 'resize_mode'
  })
}
