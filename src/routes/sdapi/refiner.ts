import { EaselError } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import type { SdapiImagesRequest } from '../../schemas/sdapi.js'
import type { Offer } from '../../service/offer.js'
import { isEmpty } from './empty.js'

/** What the web UI's page offers first; its API has none. */
const SWITCH_AT = 0.8

/**
 * Where the refiner takes over. The web UI counts the share of the training timesteps too, as diffusers does.
 *
 * @param offer of the request's model; undefined before its first worker, whose requests are refused
 * @throws EaselError 400 for another refiner than the model's
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_samplers_common.py#L158-L205
 */
export function refinerOf(
  { refiner_checkpoint: name, refiner_switch_at: at }: SdapiImagesRequest,
  offer: Pick<Offer, 'model'> | undefined
): Pick<GenerateRequest, 'denoising_end'> {
  if (name == null || isEmpty(name) || name === 'None' || offer === undefined) return {}
  const { refiner } = offer.model
  if (refiner === undefined)
    throw refused('refiner_checkpoint', 'refiner_checkpoint must be empty: this model has no refiner')
  if (!namesOf(refiner).includes(bare(name)))
    throw refused(
      'refiner_checkpoint',
      `refiner_checkpoint must be ${refiner}, the refiner of this model, not ${JSON.stringify(excerpt(name))}`
    )
  if (at === 0)
    throw refused('refiner_switch_at', 'refiner_switch_at must be more than 0: the model does the first steps')
  return at === 1 ? {} : { denoising_end: at ?? SWITCH_AT }
}

/** A model from the hub has an owner in its name. */
function namesOf(refiner: string): string[] {
  const whole = bare(refiner)
  return [whole, whole.slice(whole.lastIndexOf('/') + 1)]
}

/** A checkpoint's name as the web UI writes it, without its ending and its hash. */
function bare(name: string): string {
  return name
    .replace(/ \[[0-9a-f]{1,64}\]$/, '')
    .replace(/\.safetensors$/i, '')
    .toLowerCase()
}

function refused(field: string, message: string): EaselError {
  return new EaselError('UNSUPPORTED_FEATURE', message, { field })
}
