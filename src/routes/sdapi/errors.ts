import { Type } from 'typebox'
import type { EaselError, ErrorCode } from '../../errors.js'
import { type ErrorForm, failuresAs } from '../../schemas/error.js'
import { ref } from '../../schemas/ref.js'
import { SdapiError } from '../../schemas/sdapi.js'
import { inNames } from '../names.js'

/** The web UI's names for our fields. */
const NAMES: Readonly<Record<string, string>> = {
  num_inference_steps: 'steps',
  guidance_scale: 'cfg_scale',
  num_images: 'batch_size',
  scheduler: 'sampler_name',
  timestep_spacing: 'scheduler',
  loras: 'prompt',
  image: 'init_images',
  mask_image: 'mask',
  strength: 'denoising_strength',
  hires: 'enable_hr',
  controls: 'alwayson_scripts.controlnet.args',
  ip_adapters: 'alwayson_scripts.controlnet.args',
  padding_mask_crop: 'inpaint_full_res_padding',
  model: 'override_settings.sd_model_checkpoint',
  clip_skip: 'override_settings.CLIP_stop_at_last_layers'
}

/**
 * An error in the web UI's form, with its field names.
 *
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/api/api.py
 */
export function sdapiError({ code, field, message, statusCode }: EaselError): SdapiError {
  const named = inNames(NAMES, { field, message })
  return { error: code, detail: named.message, body: '', errors: `${statusCode}: ${named.message}` }
}

const sdapiErrorForm: ErrorForm<ReturnType<typeof Type.Unsafe<SdapiError>>> = {
  schema: ref(SdapiError),
  body: sdapiError
}

/** `failures` in the web UI's form. */
export const sdapiFailures = (...codes: readonly ErrorCode[]) => failuresAs(sdapiErrorForm, codes)
