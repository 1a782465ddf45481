import { isDeepStrictEqual } from 'node:util'
import { EaselError } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import { CLIP_SKIP_OFFSET } from '../../image/parameters.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import type { SdapiImagesRequest } from '../../schemas/sdapi.js'
import { type Unpainted, wordsFor } from '../../schemas/sdapi-fields.js'
import { isEmpty } from './empty.js'
import type { Kind } from './kinds.js'
import { choiceOf, type OfferedSamplers } from './samplers.js'
import { type AskedSettings, clipSkipOf } from './settings.js'

/** Steps between the previews of a request that its client can ask about: the web UI's default. */
const PREVIEW_INTERVAL = 10

/** Samplers that add fresh noise in each step, and so have an `eta` of 1 in the web UI. */
const NOISY = /ancestral|sde|lcm|ddpm/

/** Samplers whose `eta` a request may choose. */
const ETA: ReadonlySet<string> = new Set(['ddim', 'tcd'])

const LAYERS = 'override_settings.CLIP_stop_at_last_layers'

/** What a model offers, as far as the translation needs it. */
export interface Offered extends OfferedSamplers {
  /** Its largest `clip_skip`. */
  readonly maxClipSkip: number
}

/**
 * Translates what a request of the web UI's API says about its images to ours. What it omits gets the server's defaults.
 *
 * @param kind the fields that it may have
 * @param settings of its `override_settings`
 * @param offered by its model; undefined before the model's first worker, whose requests are refused
 * @throws EaselError for a field that asks for what Easel does not do
 */
export function translate(
  request: SdapiImagesRequest,
  kind: Kind,
  settings: AskedSettings,
  offered: Offered | undefined
): GenerateRequest {
  refuseUnknown(request, kind)
  refuseUnpainted(request, kind.fixed)
  const { prompt, negative_prompt, steps, cfg_scale, width, height, seed, batch_size, n_iter } = request
  const sampler = offered === undefined ? {} : samplerFields(request, offered)
  const images = (batch_size ?? 1) * (n_iter ?? 1)
  const fields: Optional<GenerateRequest> = {
    prompt,
    negative_prompt,
    num_inference_steps: steps,
    guidance_scale: cfg_scale,
    width,
    height,
    seed: seed === -1 ? undefined : seed,
    num_images: images === 1 ? undefined : images,
    prompt_syntax: 'a1111',
    preview_interval: isEmpty(request.force_task_id) ? undefined : PREVIEW_INTERVAL,
    ...sampler,
    ...settings,
    clip_skip: clipSkip(request, settings, offered?.maxClipSkip ?? Infinity)
  }
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) as GenerateRequest
}

type Optional<T> = { [K in keyof T]: T[K] | null | undefined }

/** Unknown fields are often typos, or ask for what another fork of the web UI does. */
function refuseUnknown(request: SdapiImagesRequest, { properties }: Kind): void {
  const unknown = Object.entries(request).find(([name, value]) => !Object.hasOwn(properties, name) && !isEmpty(value))
  if (unknown === undefined) return
  // Without the field: it is the client's text, and the log has the field.
  throw new EaselError(
    'INVALID_REQUEST',
    `${JSON.stringify(excerpt(unknown[0]))} is not a field of this request: leave it out`
  )
}

/** @throws EaselError UNSUPPORTED_FEATURE for a field that is not neutral */
export function refuseUnpainted(request: Readonly<Record<string, unknown>>, fixed: Unpainted['fixed']): void {
  for (const [field, { neutral, unable }] of Object.entries(fixed)) {
    const value = request[field]
    if (value == null || neutral.some((each) => isDeepStrictEqual(each, value))) continue
    throw new EaselError('UNSUPPORTED_FEATURE', `${field} must be ${wordsFor(neutral)}: ${unable}`, { field })
  }
}

function samplerFields(
  { sampler_name, sampler_index, scheduler, eta }: SdapiImagesRequest,
  offered: OfferedSamplers
): Pick<GenerateRequest, 'scheduler' | 'timestep_spacing' | 'eta'> {
  const choice = choiceOf(
    { sampler: sampler_name || sampler_index || undefined, schedule: scheduler || undefined },
    offered
  )
  if (eta == null) return choice
  const name = choice.scheduler ?? offered.usual
  if (ETA.has(name)) return { ...choice, eta }
  if (eta !== 1 && NOISY.test(name))
    throw new EaselError('UNSUPPORTED_FEATURE', 'eta must be 1 or left out: only DDIM takes another', { field: 'eta' })
  return choice
}

/** `clip_skip` and `CLIP_stop_at_last_layers` are one field under two names. */
function clipSkip(
  { clip_skip: layers }: SdapiImagesRequest,
  { clip_skip: ofSettings }: AskedSettings,
  most: number
): number | undefined {
  const ofField = layers == null ? undefined : clipSkipOf(layers)
  if (ofField !== undefined && ofSettings !== undefined && ofField !== ofSettings)
    throw new EaselError('INVALID_REQUEST', `${LAYERS} and clip_skip are the same: leave one of them out`, {
      field: LAYERS
    })
  const skip = ofSettings ?? ofField
  if (skip !== undefined && skip > most)
    throw new EaselError('LIMIT_EXCEEDED', `${LAYERS} must be at most ${most + CLIP_SKIP_OFFSET}`, { field: LAYERS })
  return skip
}
