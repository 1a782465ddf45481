import type { Format } from './formats.js'
import { parametersWith } from '../parameters.js'
import { type Upscaler, UPSCALER_NAMES, UPSCALERS } from '../upscalers.js'
import { PROMPT_SYNTAXES } from '../prompt/fragment.js'
import type { Recipe } from './recipe.js'
import { samplerOf, schedulerOf } from './samplers.js'

/** The recipe in AUTOMATIC1111's format, which image viewers read from the PNG keyword `parameters`. */
export function parametersText(recipe: Recipe): string {
  return `${promptsText(recipe)}\n${settingsText(recipe)}`
}

/** The first lines of the format. */
export function promptsText({ prompt, negative_prompt: negative }: Recipe): string {
  return negative === '' ? prompt : `${prompt}\n${NEGATIVE}${negative}`
}

/** The last line of the format. */
export function settingsText(recipe: Recipe): string {
  const { sampler, schedule } = samplerOf(recipe.scheduler)
  return [
    `Steps: ${recipe.num_inference_steps}`,
    `Sampler: ${sampler}`,
    ...setting('Schedule type', schedule),
    `CFG scale: ${recipe.guidance_scale}`,
    ...setting('Clip skip', recipe.clip_skip === undefined ? undefined : recipe.clip_skip + CLIP_SKIP_OFFSET),
    ...parametersWith('label').flatMap(({ name, label }) => setting(label, recipe[name])),
    ...hiresSettings(recipe),
    `Seed: ${recipe.seed}`,
    `Size: ${recipe.width}x${recipe.height}`,
    `Model hash: ${shortDigest(recipe.model_digest)}`,
    `Model: ${recipe.model}`,
    ...setting('TI hashes', embeddingHashes(recipe)),
    `Version: easel ${recipe.version}`
  ].join(', ')
}

function hiresSettings({ hires, num_inference_steps: first }: Recipe): string[] {
  if (hires === undefined) return []
  const { width, height, strength, num_inference_steps: steps = first, upscaler = 'bicubic' } = hires
  return [
    ...setting('Denoising strength', strength),
    `Hires resize: ${width}x${height}`,
    `Hires steps: ${steps}`,
    `Hires upscaler: ${UPSCALER_NAMES[upscaler]}`
  ]
}

/** The second pass that a text describes; none if another upscaler made it, whose pixels would differ. */
function hiresIn(settings: Parts['settings']): Pick<Recipe, 'hires'> {
  const size = /^(\d{1,5})x(\d{1,5})$/.exec(settings['Hires resize'] ?? '')
  const upscaler = upscalerNamed(settings['Hires upscaler'])
  if (size === null || upscaler === undefined) return {}
  const [, width, height] = size.map(Number)
  const [strength, steps] = [Number(settings['Denoising strength']), Number(settings['Hires steps'])]
  const named = upscaler === 'bicubic' ? {} : { upscaler }
  return { hires: { width: width!, height: height!, strength, num_inference_steps: steps, ...named } }
}

/** The upscaler of a name in the web UI, in any case; undefined for one that is not here. */
export function upscalerNamed(name: string | undefined): Upscaler | undefined {
  return UPSCALERS.find((upscaler) => UPSCALER_NAMES[upscaler].toLowerCase() === name?.toLowerCase())
}

/** A model's digest as AUTOMATIC1111 shortens its hashes. */
export function shortDigest(digest: string): string {
  return digest.slice(0, 10)
}

/** As AUTOMATIC1111 lists the embeddings that the prompts name. */
function embeddingHashes({ embeddings = [] }: Recipe): string | undefined {
  const hashes = embeddings.map(({ name, digest }) => `${name.replaceAll(/[:,]/g, '')}: ${digest.slice(0, 12)}`)
  return hashes.length === 0 ? undefined : hashes.join(', ')
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
export const CLIP_SKIP_OFFSET = 2

/** Maximum length in UTF-16 units; longer text is not parsed. */
const MAX_TEXT = 65_536

const NEGATIVE = 'Negative prompt: '

/** The parts of a text in AUTOMATIC1111's format. */
interface Parts {
  readonly prompt: string
  readonly negative: string
  readonly settings: Readonly<Record<string, string>>
}

/**
 * Parses AUTOMATIC1111's format, keeping the settings that mean the same in Easel; undefined if the text is not in that
 * format. Sets `truncate`, because AUTOMATIC1111 does not limit the length of prompts.
 *
 * @param format of the file that contains the text
 */
export function recipeOfParameters(text: string, format: Format): Recipe | undefined {
  const parts = partsOf(text)
  if (parts === undefined) return undefined
  const { prompt, negative, settings } = parts
  const [width, height] = sizeIn(settings).map(Number)
  const version = settings['Version'] ?? ''
  return {
    prompt,
    negative_prompt: negative,
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
    ...hiresIn(settings),
    version
  }
}

/** The fields of a text in AUTOMATIC1111's format, as its own reader names them; none for another text. */
export function parameterFields(text: string): Readonly<Record<string, string>> {
  const parts = partsOf(text)
  if (parts === undefined) return {}
  const { Size: _size, ...settings } = parts.settings
  const [width, height] = sizeIn(parts.settings)
  return {
    Prompt: parts.prompt,
    'Negative prompt': parts.negative,
    ...settings,
    ...(width === undefined || height === undefined ? {} : { 'Size-1': width, 'Size-2': height })
  }
}

function partsOf(text: string): Parts | undefined {
  if (text.length > MAX_TEXT) return undefined
  const lines = text.split('\n')
  const last = lines.findLastIndex((line) => line.startsWith('Steps: '))
  if (last === -1) return undefined
  const from = lines.findIndex((line) => line.startsWith(NEGATIVE))
  const negative = from === -1 || from > last ? last : from
  return {
    prompt: lines.slice(0, negative).join('\n'),
    negative: lines.slice(negative, last).join('\n').slice(NEGATIVE.length),
    settings: settingsIn(lines[last]!)
  }
}

function sizeIn(settings: Parts['settings']): string[] {
  return (settings['Size'] ?? '').split('x')
}

/** Our own text says it where it is not plain. Other programs that write this format read prompts as AUTOMATIC1111 does. */
function syntaxOf(said: string | undefined, version: string): Pick<Recipe, 'prompt_syntax'> {
  const found = PROMPT_SYNTAXES.find((syntax) => syntax === said)
  if (found !== undefined) return { prompt_syntax: found }
  return version.startsWith('easel ') ? {} : { prompt_syntax: 'a1111' }
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
