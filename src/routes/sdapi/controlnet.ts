import { isDeepStrictEqual } from 'node:util'
import { EaselError, type ErrorCode } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import type { ResizeMode } from '../../pictures/fit.js'
import { CANNY, type PreprocessorName } from '../../pictures/preprocessors.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import { SdapiControlUnit, type SdapiScripts, UNIT } from '../../schemas/sdapi-controlnet.js'
import { wordsFor } from '../../schemas/sdapi-fields.js'
import { isEmpty } from './empty.js'

type Controls = Pick<GenerateRequest, 'controls' | 'ip_adapters'>

const SCRIPTS = 'alwayson_scripts'
const NAMES: ReadonlySet<string> = new Set(['controlnet', 'ControlNet'])

/** The extension's preprocessors that Easel has, with its names and those in its menus. */
const MODULES: Readonly<Record<string, PreprocessorName>> = {
  none: 'none',
  None: 'none',
  canny: 'canny',
  lineart_standard: 'lineart',
  'lineart_standard (from white bg & black line)': 'lineart'
}

/** Its preprocessors for IP-Adapters of SDXL. Which one an adapter needs is known from its files here. */
const IP_ADAPTER = /^ip-adapter(-auto|_clip_(g|h|sdxl|sdxl_plus_vith))$/

/** Its ways to resize, by number and by all names that it reads. 3 resizes latents elsewhere, and stretches here too. */
const RESIZE_MODES: Readonly<Record<string, ResizeMode>> = {
  0: 'default',
  1: 'crop',
  2: 'fill',
  3: 'default',
  'Just Resize': 'default',
  'Crop and Resize': 'crop',
  'Inner Fit (Scale to Fit)': 'crop',
  'Scale to Fit (Inner Fit)': 'crop',
  'Resize and Fill': 'fill',
  'Outer Fit (Shrink to Fit)': 'fill',
  'Envelope (Outer Fit)': 'fill'
}

/** The hash that the extension writes behind a model's name. */
const HASH = / \[[0-9a-f]{6,10}\]$/

/**
 * Translates the units of AUTOMATIC1111's ControlNet extension. Pictures are their digests here: whoever read them put
 * them in.
 *
 * @param own the picture that the request starts from, which a unit without one follows
 * @throws EaselError that names the unit's field which asks for what Easel does not do
 * @see https://github.com/Mikubill/sd-webui-controlnet/blob/008468a853fc93e9e425bd5d91e2944c97e757a0/scripts/external_code.py
 */
export function controlsOf(scripts: SdapiScripts | null | undefined, own: string | undefined): Controls {
  const controls: NonNullable<Controls['controls']> = []
  const adapters: NonNullable<Controls['ip_adapters']> = []
  for (const [script, value] of Object.entries(scripts ?? {})) {
    if (!NAMES.has(script)) {
      refuseScript(script, value)
      continue
    }
    const { args = [] } = (value ?? {}) as NonNullable<SdapiScripts['controlnet']>
    for (const [index, unit] of args.entries()) {
      if (unit === null || unit.enabled === false) continue
      const at = `${SCRIPTS}.${script}.args[${index}]`
      refuseOthers(unit, at)
      const name = nameOf(unit, at)
      const image = pictureOf(unit, own, at)
      if (unit.module != null && IP_ADAPTER.test(unit.module)) {
        if (unit.guidance_start || (unit.guidance_end ?? unit.guidance ?? 1) !== 1)
          throw refused(
            'UNSUPPORTED_FEATURE',
            `${at}.guidance_start and guidance_end must be 0 and 1: an IP-Adapter counts in all steps`
          )
        adapters.push({ name, image, ...(unit.weight == null ? {} : { scale: unit.weight }) })
      } else controls.push({ name, image, ...valuesOf(unit, at) })
    }
  }
  return {
    ...(controls.length === 0 ? {} : { controls }),
    ...(adapters.length === 0 ? {} : { ip_adapters: adapters })
  }
}

function valuesOf(
  unit: SdapiControlUnit,
  at: string
): Omit<NonNullable<Controls['controls']>[number], 'name' | 'image'> {
  const { weight, guidance_start: start, guidance_end, guidance, threshold_a: low, threshold_b: high } = unit
  const end = guidance_end ?? guidance
  const preprocessor = preprocessorOf(unit, at)
  const threshold = (value: number | null | undefined, usual: number) => (value == null || value < 0 ? usual : value)
  return {
    preprocessor,
    ...(preprocessor === 'canny'
      ? { low_threshold: threshold(low, CANNY.low), high_threshold: threshold(high, CANNY.high) }
      : {}),
    resize_mode: resizeModeOf(unit, at),
    ...(weight == null ? {} : { controlnet_conditioning_scale: weight }),
    ...(start == null ? {} : { control_guidance_start: start }),
    ...(end == null ? {} : { control_guidance_end: end })
  }
}

function preprocessorOf({ module }: SdapiControlUnit, at: string): PreprocessorName {
  if (module == null || module === '') return 'none'
  if (Object.hasOwn(MODULES, module)) return MODULES[module]!
  throw refused(
    'UNSUPPORTED_FEATURE',
    `${at}.module must be none, canny, lineart_standard or ip-adapter-auto, not ${JSON.stringify(excerpt(module))}: make other pictures elsewhere, and send them with none`
  )
}

function resizeModeOf({ resize_mode: mode }: SdapiControlUnit, at: string): ResizeMode {
  if (mode == null) return 'crop'
  if ((typeof mode === 'string' || typeof mode === 'number') && Object.hasOwn(RESIZE_MODES, mode))
    return RESIZE_MODES[mode]!
  throw refused(
    'INVALID_REQUEST',
    `${at}.resize_mode must be 0, 1 or 2, or Just Resize, Crop and Resize or Resize and Fill`
  )
}

function nameOf({ model }: SdapiControlUnit, at: string): string {
  if (model == null || /^(none)?$/i.test(model))
    throw refused('INVALID_REQUEST', `${at}.model must be a name that GET /controls or GET /ip-adapters lists`)
  return model.replace(HASH, '')
}

function pictureOf({ image, input_image: older }: SdapiControlUnit, own: string | undefined, at: string): string {
  const given = image ?? older
  const found = typeof given === 'object' && given !== null ? (given as { image?: unknown }).image : given
  if (typeof given === 'object' && given !== null && !isEmpty((given as { mask?: unknown }).mask))
    throw refused('UNSUPPORTED_FEATURE', `${at}.image.mask must be left out: Easel masks no control pictures`)
  if (typeof found === 'string' && found !== '') return found
  if (own !== undefined && isEmpty(found)) return own
  throw refused('INVALID_REQUEST', `${at}.image must be the picture to follow, in base64 or as a data: URL`)
}

/** Refuses fields that ask for what Easel does not do, and those that no version of the extension has. */
function refuseOthers(unit: SdapiControlUnit, at: string): void {
  for (const [field, { neutral, unable }] of Object.entries(UNIT.fixed)) {
    const value = unit[field]
    if (value == null || neutral.some((each) => isDeepStrictEqual(each, value))) continue
    throw refused('UNSUPPORTED_FEATURE', `${at}.${field} must be ${wordsFor(neutral)}: ${unable}`)
  }
  const unknown = Object.entries(unit).find(
    ([name, value]) => !Object.hasOwn(SdapiControlUnit.properties, name) && !isEmpty(value)
  )
  if (unknown !== undefined)
    throw refused(
      'INVALID_REQUEST',
      `${at}: ${JSON.stringify(excerpt(unknown[0]))} is not a field of a unit: leave it out`
    )
}

function refuseScript(name: string, value: unknown): void {
  const args = typeof value === 'object' && value !== null && 'args' in value ? value.args : value
  if (isEmpty(args)) return
  throw refused(
    'UNSUPPORTED_FEATURE',
    `${SCRIPTS}: ${JSON.stringify(excerpt(name))} must be left out: Easel has no scripts or extensions besides controlnet`
  )
}

function refused(code: ErrorCode, message: string): EaselError {
  return new EaselError(code, message, { field: SCRIPTS })
}
