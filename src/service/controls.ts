import { EaselError } from '../errors.js'
import type { Recipe } from '../image/recipe.js'
import type { ValueOf } from '../parameters.js'
import { CANNY, type Preprocessor } from '../pictures/preprocessors.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Capabilities } from '../workers/capabilities.js'
import type { Job } from '../workers/job.js'
import type { Decided } from './decisions.js'
import { fileNamed } from './named-file.js'

/** What a request's pictures control: entries of `controls` and `ip_adapters` with their values, as recipes have them. */
export interface Conditions {
  readonly controls?: NonNullable<Recipe['controls']>
  readonly ip_adapters?: NonNullable<Recipe['ip_adapters']>
}

type Control = NonNullable<Conditions['controls']>[number]
type List = keyof Conditions
type Entry = ValueOf<List>[number]
interface Listed {
  readonly name: string
  readonly digest: string
}

const KINDS = {
  controls: { what: 'ControlNet or T2I-Adapter', route: '/controls', option: 'CONTROLNETS', short: true },
  ip_adapters: { what: 'IP-Adapter', route: '/ip-adapters', option: 'IP_ADAPTERS', short: true }
} as const

/**
 * The controls and IP-Adapters of a request. Its pictures are their digests here: whoever read them put them in.
 *
 * @throws EaselError INVALID_REQUEST, LIMIT_EXCEEDED or UNSUPPORTED_CONTROL with the list
 */
export function conditionsOf(
  { controls = [], ip_adapters: adapters = [], cache_interval: cached }: Pick<Decided, List | 'cache_interval'>,
  request: Pick<GenerateRequest, 'padding_mask_crop'>,
  model: Pick<Capabilities, 'controls' | 'ipAdapters' | 'limits'>
): Conditions {
  const list = controls.length > 0 ? 'controls' : adapters.length > 0 ? 'ip_adapters' : undefined
  if (list !== undefined && cached > 1)
    throw new EaselError(
      'UNSUPPORTED_FEATURE',
      `cache_interval must be 1 with ${list}, not ${cached}: the deep features that it reuses would not follow the pictures`,
      { field: 'cache_interval' }
    )
  const most = model.limits.max_controls ?? 0
  if (controls.length > most)
    throw new EaselError('LIMIT_EXCEEDED', `controls must have at most ${most} entries`, { field: 'controls' })
  if (controls.length > 0 && request.padding_mask_crop !== undefined)
    throw invalid(
      'controls',
      'controls must be left out with padding_mask_crop: their pictures are not cropped with image'
    )
  const used = controls.map((entry, index) => {
    checkControl(entry, index)
    return { ...found('controls', entry, index, model.controls), ...valuesOf(entry) }
  })
  const pictures = adapters.map((entry, index) => ({
    ...found('ip_adapters', entry, index, model.ipAdapters),
    scale: entry.scale ?? 1
  }))
  return {
    ...(used.length === 0 ? {} : { controls: used }),
    ...(pictures.length === 0 ? {} : { ip_adapters: pictures })
  }
}

/** The values that decide something, in one order: equal requests have equal recipes, to the byte. */
function valuesOf({
  preprocessor = 'none',
  low_threshold: low = CANNY.low,
  high_threshold: high = CANNY.high,
  resize_mode: mode = 'default',
  controlnet_conditioning_scale: scale = 1,
  control_guidance_start: start = 0,
  control_guidance_end: end = 1
}: ValueOf<'controls'>[number]): Omit<Control, 'name' | 'digest' | 'image_sha256'> {
  return {
    ...(preprocessor === 'none' ? {} : { preprocessor }),
    ...(preprocessor === 'canny' ? { low_threshold: low, high_threshold: high } : {}),
    ...(mode === 'default' ? {} : { resize_mode: mode }),
    controlnet_conditioning_scale: scale,
    ...(start === 0 ? {} : { control_guidance_start: start }),
    ...(end === 1 ? {} : { control_guidance_end: end })
  }
}

function checkControl(entry: ValueOf<'controls'>[number], index: number): void {
  const { control_guidance_start: start = 0, control_guidance_end: end = 1 } = entry
  const at = `controls[${index}]`
  if (start >= end)
    throw invalid('controls', `${at}.control_guidance_start must be less than control_guidance_end, ${end}`)
  const threshold = unusedThreshold(entry)
  if (threshold !== undefined)
    throw invalid(
      'controls',
      `${at}.${threshold} is for the preprocessor canny: leave it out, or send that preprocessor`
    )
}

type Drawing = Pick<ValueOf<'controls'>[number], 'preprocessor' | 'low_threshold' | 'high_threshold'>

/** A threshold that is given although its preprocessor is not. */
export function unusedThreshold(entry: Drawing): 'low_threshold' | 'high_threshold' | undefined {
  if (entry.preprocessor === 'canny') return undefined
  return (['low_threshold', 'high_threshold'] as const).find((name) => entry[name] !== undefined)
}

/** The file that an entry names, and the digest of its picture. */
function found(
  list: List,
  entry: Entry,
  index: number,
  files: readonly Listed[]
): { name: string; digest: string; image_sha256: string } {
  const { name, digest } = find(list, entry, index, files)
  return { name, digest, image_sha256: digestOf(list, entry, index) }
}

/** A recipe's picture must be sent again, and be the same. */
function digestOf(list: List, { image, image_sha256: wanted }: Entry, index: number): string {
  const field = `${list}[${index}].image`
  if (image === undefined)
    throw invalid(
      list,
      wanted === undefined
        ? `${field} must be sent: the picture, as PNG, JPEG or WebP`
        : `${field} must be sent: image_sha256 says that it is the file with the SHA-256 ${wanted}`
    )
  if (wanted !== undefined && wanted !== image)
    throw invalid(list, `${field} is another file than image_sha256 says: its SHA-256 is ${image}, not ${wanted}`)
  return image
}

function find(list: List, { name, digest }: Entry, index: number, files: readonly Listed[]): Listed {
  const file = fileNamed(files, name, KINDS[list], (message) => unsupported(list, `${list}[${index}].name: ${message}`))
  if (digest !== undefined && digest !== file.digest)
    throw unsupported(
      list,
      `${list}[${index}].digest: ${file.name} is another one now: its digest is ${file.digest}. Leave digest out to use that one`
    )
  return file
}

/** What a GENERATE says of the conditions, besides their pictures. */
export function conditionsWireOf({
  controls = [],
  ip_adapters: adapters = []
}: Conditions): Partial<Pick<Job, 'controls' | 'ip_adapters'>> {
  const used = controls.map(({ name, digest, ...values }) => {
    const {
      controlnet_conditioning_scale: scale = 1,
      control_guidance_start: start,
      control_guidance_end: end
    } = values
    return {
      name,
      digest,
      scale,
      ...(start === undefined ? {} : { start }),
      ...(end === undefined ? {} : { end })
    }
  })
  const pictures = adapters.map(({ name, digest, scale = 1 }) => ({ name, digest, scale }))
  return {
    ...(used.length === 0 ? {} : { controls: used }),
    ...(pictures.length === 0 ? {} : { ip_adapters: pictures })
  }
}

/** What is made of a control's picture. */
export function preprocessorOf({
  preprocessor = 'none',
  low_threshold: low = CANNY.low,
  high_threshold: high = CANNY.high
}: Drawing): Preprocessor {
  return preprocessor === 'canny' ? { name: preprocessor, low, high } : { name: preprocessor }
}

function invalid(field: List, message: string): EaselError {
  return new EaselError('INVALID_REQUEST', message, { field })
}

function unsupported(field: List, message: string): EaselError {
  return new EaselError('UNSUPPORTED_CONTROL', message, { field })
}
