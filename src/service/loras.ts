import { EaselError } from '../errors.js'
import { MAX_LORA_WEIGHT, MAX_LORAS, type ValueOf } from '../parameters.js'
import { readNetworks } from '../prompt/index.js'
import type { Capabilities } from '../workers/capabilities.js'
import type { Lora, LoraUse } from '../workers/protocol.js'
import type { Decided } from './decisions.js'
import { fileNamed } from './named-file.js'
import { invalid, refusing } from './prompts.js'

/** A LoRA that a request asks for, and the field that names it. */
type Wanted = ValueOf<'loras'>[number] & { readonly field: 'loras' | 'prompt' | 'prompt_2' }

const LORA = { what: 'LoRA', route: '/loras', option: 'LORAS', short: true } as const

/**
 * The LoRAs of a request: those of its field and, in the syntax `a1111`, those that its prompts name. One without
 * effect, of weight 0, is left out. One that is named twice with the same weights counts once, so that a recipe, which
 * lists also the LoRAs of its prompt, gives the same image.
 *
 * @throws EaselError INVALID_REQUEST, UNSUPPORTED_FEATURE or UNSUPPORTED_LORA
 */
export function lorasOf(
  decided: Pick<Decided, 'loras' | 'prompt' | 'prompt_2' | 'prompt_syntax'>,
  { loras, limits }: Pick<Capabilities, 'loras' | 'limits'>
): LoraUse[] {
  const used = new Map<string, LoraUse>()
  for (const wanted of [...named(decided), ...tagged(decided)]) {
    const use = useOf(wanted, loras)
    const before = used.get(use.name)
    if (before !== undefined && !sameWeights(before, use))
      throw invalid(wanted.field, `names the LoRA ${use.name} twice, with different weights: keep one`)
    used.set(use.name, use)
  }
  const effective = [...used.values()].filter(({ unet_weight, text_weight }) => unet_weight !== 0 || text_weight !== 0)
  const most = Math.min(MAX_LORAS, limits.max_loras ?? 0)
  if (effective.length > most)
    throw new EaselError('LIMIT_EXCEEDED', `loras must be at most ${most}, with those that the prompt names`, {
      field: 'loras'
    })
  return effective
}

function named({ loras = [] }: Pick<Decided, 'loras'>): Wanted[] {
  return loras.map((lora) => ({ ...lora, field: 'loras' }))
}

function tagged({
  prompt,
  prompt_2 = '',
  prompt_syntax: syntax
}: Pick<Decided, 'prompt' | 'prompt_2' | 'prompt_syntax'>): Wanted[] {
  if (syntax !== 'a1111') return []
  return [...tagsIn('prompt', prompt), ...tagsIn('prompt_2', prompt_2)]
}

function tagsIn(field: 'prompt' | 'prompt_2', text: string): Wanted[] {
  const { loras } = refusing(field, () => readNetworks(text, false))
  return loras.map(({ tag, ...lora }) => {
    if (Math.max(Math.abs(lora.unet_weight), Math.abs(lora.text_weight)) > MAX_LORA_WEIGHT)
      throw invalid(field, `has ${tag}, whose weight must be from -${MAX_LORA_WEIGHT} to ${MAX_LORA_WEIGHT}`)
    return { ...lora, field }
  })
}

function useOf(wanted: Wanted, loras: readonly Lora[]): LoraUse {
  const { name, digest } = fileNamed(loras, wanted.name, LORA, (message) => unsupported(wanted, message))
  if (wanted.digest !== undefined && wanted.digest !== digest)
    throw unsupported(
      wanted,
      `the LoRA ${name} is another file now: its digest is ${digest}. Leave digest out to use that one`
    )
  const { weight = 1, unet_weight = weight, text_weight = weight } = wanted
  return { name, digest, unet_weight, text_weight }
}

/** The LoRAs of a model, each with its preset if the model has that. */
export function offeredLoras({ loras, presets }: Pick<Capabilities, 'loras' | 'presets'>): Lora[] {
  return loras.map(({ preset, ...lora }) =>
    presets.some(({ name }) => name === preset) ? { ...lora, preset: preset! } : lora
  )
}

/** More steps and guidance than a LoRA for few steps is used with, with room for those who mix it with others. */
const FEW = { num_inference_steps: 16, guidance_scale: 3 } as const

/** Doubts about LoRAs for few steps in a request whose values are those of other models. */
export function lorasDoubted(
  { num_inference_steps: steps, guidance_scale: guidance }: Pick<Decided, 'num_inference_steps' | 'guidance_scale'>,
  used: readonly LoraUse[],
  model: Pick<Capabilities, 'loras' | 'presets'>
): string[] {
  if (steps <= FEW.num_inference_steps && guidance <= FEW.guidance_scale) return []
  const offered = offeredLoras(model)
  return used.flatMap(({ name, unet_weight: weight }) => {
    const preset = offered.find((lora) => lora.name === name)?.preset
    if (preset === undefined || weight === 0) return []
    return [
      `loras has ${name}, which is for few steps, with ${steps} steps and a guidance_scale of ${guidance}: "preset": "${preset}" has what it needs`
    ]
  })
}

function sameWeights(a: LoraUse, b: LoraUse): boolean {
  return a.unet_weight === b.unet_weight && a.text_weight === b.text_weight
}

function unsupported({ field }: Wanted, message: string): EaselError {
  return new EaselError('UNSUPPORTED_LORA', `${field}: ${message}`, { field })
}
