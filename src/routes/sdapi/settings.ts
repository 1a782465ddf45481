import { EaselError } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import { CLIP_SKIP_OFFSET } from '../../image/parameters.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import { SdapiOptions } from '../../schemas/sdapi.js'
import { isEmpty } from './empty.js'

/** Settings for things that Easel does not do: their values without effect. */
const NEUTRAL = { sd_vae: ['Automatic', 'None', ''], emphasis: ['Original'] } as const

/** What settings of the web UI ask for. */
export type AskedSettings = Pick<GenerateRequest, 'model' | 'clip_skip' | 'output_format' | 'quality'>

/** The settings that a request has for itself, or that a client wants to change. */
export type Settings = SdapiOptions & Readonly<Record<string, unknown>>

/**
 * The part of a request that the web UI keeps in its settings. A setting that is unknown here must be empty.
 *
 * @param where what errors write before the name of a setting
 * @throws EaselError UNSUPPORTED_FEATURE
 */
export function readSettings(settings: Settings, where: string): AskedSettings {
  for (const [name, value] of Object.entries(settings)) {
    if (Object.hasOwn(SdapiOptions.properties, name) || isEmpty(value)) continue
    // Without the field: it is the client's text, and the log has the field.
    throw new EaselError(
      'UNSUPPORTED_FEATURE',
      `${where}${excerpt(name)} is not a setting of this server: leave it out`
    )
  }
  for (const [name, neutral] of Object.entries(NEUTRAL)) {
    const value = settings[name]
    if (value == null || (neutral as readonly unknown[]).includes(value)) continue
    const field = `${where}${name}`
    throw new EaselError('UNSUPPORTED_FEATURE', `${field} must be ${neutral[0]}: this server has no other`, { field })
  }
  const { sd_model_checkpoint: model, CLIP_stop_at_last_layers: layers, samples_format, jpeg_quality } = settings
  return {
    ...(isEmpty(model) ? {} : { model: model! }),
    ...(layers == null ? {} : { clip_skip: clipSkipOf(layers) }),
    ...(samples_format == null ? {} : { output_format: samples_format === 'jpg' ? 'jpeg' : samples_format }),
    ...(jpeg_quality == null ? {} : { quality: jpeg_quality })
  }
}

/**
 * Our clip_skip for the web UI's Clip skip. With SDXL, its 1 also takes the last layer but one.
 *
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_hijack_clip.py
 */
export function clipSkipOf(layers: number): number {
  return Math.max(0, layers - CLIP_SKIP_OFFSET)
}

/** All settings, as requests have them that change none. */
export function settingsOf(model: string, { clip_skip }: { readonly clip_skip: number }): Required<SdapiOptions> {
  return {
    sd_model_checkpoint: model,
    CLIP_stop_at_last_layers: clip_skip + CLIP_SKIP_OFFSET,
    samples_format: 'png',
    jpeg_quality: 90,
    sd_vae: NEUTRAL.sd_vae[0],
    emphasis: NEUTRAL.emphasis[0]
  }
}
