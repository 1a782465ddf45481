import type { Format } from './formats.js'
import { parametersWith } from '../parameters.js'
import { PROMPT_SYNTAXES } from '../prompt/fragment.js'
import type { Recipe } from './recipe.js'

/** AUTOMATIC1111's names for our samplers, without the noise schedule. */
const SAMPLERS: Readonly<Record<string, string>> = {
  euler: 'Euler',
  euler_ancestral: 'Euler a',
  ddim: 'DDIM',
  dpmpp_2m: 'DPM++ 2M',
  dpmpp_2m_sde: 'DPM++ 2M SDE',
  dpmpp_3m_sde: 'DPM++ 3M SDE',
  heun: 'Heun',
  dpm2: 'DPM2',
  dpm2_ancestral: 'DPM2 a',
  lcm: 'LCM',
  unipc: 'UniPC'
}

/** AUTOMATIC1111's names for our noise schedules, by the suffix of a scheduler's name. It writes them separately. */
const SCHEDULES: Readonly<Record<string, string>> = { _karras: 'Karras', _exponential: 'Exponential', _beta: 'Beta' }

/** The recipe in AUTOMATIC1111's format, which image viewers read from the PNG keyword `parameters`. */
export function parametersText(recipe: Recipe): string {
  const { sampler, schedule } = samplerOf(recipe.scheduler)
  const settings = [
    `Steps: ${recipe.num_inference_steps}`,
    `Sampler: ${sampler}`,
    ...setting('Schedule type', schedule),
    `CFG scale: ${recipe.guidance_scale}`,
    ...setting('Clip skip', recipe.clip_skip === undefined ? undefined : recipe.clip_skip + CLIP_SKIP_OFFSET),
    ...parametersWith('label').flatMap(({ name, label }) => setting(label, recipe[name])),
    `Seed: ${recipe.seed}`,
    `Size: ${recipe.width}x${recipe.height}`,
    `Model hash: ${recipe.model_digest.slice(0, 10)}`,
    `Model: ${recipe.model}`,
    `Version: easel ${recipe.version}`
  ]
  const negative = recipe.negative_prompt === '' ? [] : [`Negative prompt: ${recipe.negative_prompt}`]
  return [recipe.prompt, ...negative, settings.join(', ')].join('\n')
}

/** Values with separators are quoted. */
function setting(name: string, value: number | string | undefined): string[] {
  if (value === undefined) return []
  return [`${name}: ${typeof value === 'string' && /[,:\n]/.test(value) ? JSON.stringify(value) : value}`]
}

/**
 * The web UI counts layers from the end: 2 is the last layer but one, which SDXL takes. The recipe counts from there, as
 * diffusers does.
 */
const CLIP_SKIP_OFFSET = 2

/** Maximum length in UTF-16 units; longer text is not parsed. */
const MAX_TEXT = 65_536

const NEGATIVE = 'Negative prompt: '

/**
 * Parses AUTOMATIC1111's format, keeping the settings that mean the same in Easel; undefined if the text is not in that
 * format. Sets `truncate`, because AUTOMATIC1111 does not limit the length of prompts.
 *
 * @param format of the file that contains the text
 */
export function recipeOfParameters(text: string, format: Format): Recipe | undefined {
  if (text.length > MAX_TEXT) return undefined
  const lines = text.split('\n')
  const last = lines.findLastIndex((line) => line.startsWith('Steps: '))
  if (last === -1) return undefined
  const settings = settingsIn(lines[last]!)
  const [width, height] = (settings['Size'] ?? '').split('x').map(Number)
  const from = lines.findIndex((line) => line.startsWith(NEGATIVE))
  const negative = from === -1 || from > last ? last : from
  const version = settings['Version'] ?? ''
  return {
    prompt: lines.slice(0, negative).join('\n'),
    negative_prompt: lines.slice(negative, last).join('\n').slice(NEGATIVE.length),
    seed: Number(settings['Seed']),
    num_inference_steps: Number(settings['Steps']),
    guidance_scale: Number(settings['CFG scale']),
    scheduler: schedulerOf(settings['Sampler'] ?? '', settings['Schedule type'] ?? ''),
    width: width!,
    height: height!,
    output_format: format,
    truncate: true,
    model: settings['Model'] ?? '',
    model_digest: settings['Model hash'] ?? '',
    ...syntaxOf(settings['Prompt syntax'], version),
    version
  }
}

/** AUTOMATIC1111's name for a scheduler; ours if it has none. */
function samplerOf(scheduler: string): { sampler: string; schedule?: string } {
  const suffix = Object.keys(SCHEDULES).find((end) => scheduler.endsWith(end))
  const sampler = SAMPLERS[suffix === undefined ? scheduler : scheduler.slice(0, -suffix.length)]
  if (sampler === undefined) return { sampler: scheduler }
  return suffix === undefined ? { sampler } : { sampler, schedule: SCHEDULES[suffix]! }
}

/** Our own text says it where it is not plain. Other programs that write this format read prompts as AUTOMATIC1111 does. */
function syntaxOf(said: string | undefined, version: string): Pick<Recipe, 'prompt_syntax'> {
  const found = PROMPT_SYNTAXES.find((syntax) => syntax === said)
  if (found !== undefined) return { prompt_syntax: found }
  return version.startsWith('easel ') ? {} : { prompt_syntax: 'a1111' }
}

/** Older versions of AUTOMATIC1111 append the schedule to the sampler's name. */
function schedulerOf(sampler: string, schedule: string): string {
  const [suffix = '', name = ''] =
    Object.entries(SCHEDULES).find(([, known]) => schedule === known || sampler.endsWith(` ${known}`)) ?? []
  const plain = sampler.endsWith(` ${name}`) ? sampler.slice(0, -name.length - 1) : sampler
  const found = Object.entries(SAMPLERS).find(([, known]) => known === plain)?.[0]
  return found === undefined ? sampler : `${found}${suffix}`
}

/**
 * Parses a line like `Steps: 20, Size: 64x32, Hires prompt: "a, b"`, where a value with a comma is quoted. Linear in
 * the length of any line, unlike a regular expression.
 */
function settingsIn(line: string): Readonly<Record<string, string>> {
  const settings: Record<string, string> = {}
  for (let at = 0, colon = line.indexOf(':'); colon !== -1; colon = line.indexOf(':', at)) {
    const name = line.slice(at, colon).split(',').at(-1)!.trim()
    const start = colon + 1 + (line[colon + 1] === ' ' ? 1 : 0)
    const end = line[start] === '"' ? endOfQuoted(line, start) : endOfPlain(line, start)
    settings[name] = line.slice(start, end).trim()
    at = endOfPlain(line, end) + 1
  }
  return settings
}

function endOfPlain(line: string, start: number): number {
  const comma = line.indexOf(',', start)
  return comma === -1 ? line.length : comma
}

function endOfQuoted(line: string, start: number): number {
  for (let at = start + 1; at < line.length; at++) {
    if (line[at] === '\\') at += 1
    else if (line[at] === '"') return at + 1
  }
  return line.length
}
