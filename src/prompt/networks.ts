/**
 * The LoRAs that a prompt names in AUTOMATIC1111's syntax: `<lora:name>`, `<lora:name:0.8>`, `<lora:name:te:unet>`, or
 * `te=` and `unet=`. The text encoders do not see them. Source:
 * https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/extra_networks.py#L160 and
 * https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/extensions-builtin/Lora/extra_networks_lora.py#L16
 */
import { type Located, located, PromptSyntaxError, quote, slice } from './fragment.js'
import { toFloat } from './python-text.js'

/** A LoRA named in a prompt. */
export interface LoraTag {
  readonly name: string
  readonly unet_weight: number
  readonly text_weight: number
  /** The tag as it is written, shortened for errors. */
  readonly tag: string
}

const START = /<([\p{L}\p{N}_]+):(?!>)/u
/** The kinds of network that are LoRAs. */
const LORA = new Set(['lora', 'lyco'])

/**
 * Separates a prompt's LoRAs from its text. Linear in its length.
 *
 * @param negative whether it is a negative prompt, which cannot name LoRAs
 * @throws PromptSyntaxError for another kind of network, and for a weight that is not a number
 */
export function readNetworks(prompt: string, negative: boolean): { rest: Located; loras: readonly LoraTag[] } {
  const loras: LoraTag[] = []
  const whole = located(prompt)
  const kept: Located[] = []
  let from = 0
  const start = new RegExp(START, 'gu')
  for (let match = start.exec(prompt); match !== null; match = start.exec(prompt)) {
    const end = prompt.indexOf('>', start.lastIndex)
    if (end === -1) break
    const tag = quote(prompt.slice(match.index, end + 1))
    if (!LORA.has(match[1]!))
      throw new PromptSyntaxError(
        `has ${tag}, which loads a network that Easel does not have: remove it, or name a LoRA with <lora:name:1>`
      )
    if (negative) throw new PromptSyntaxError(`has ${tag}, but only the prompt can name LoRAs: move it there`)
    loras.push({ ...weightsOf(prompt.slice(start.lastIndex, end).split(':'), tag), tag })
    kept.push(slice(whole, from, match.index))
    from = end + 1
    start.lastIndex = from
  }
  kept.push(slice(whole, from, prompt.length))
  return { rest: { text: kept.map(({ text }) => text).join(''), starts: kept.flatMap(({ starts }) => starts) }, loras }
}

/** The first two numbers are those of the text encoders and of the UNet; one alone is both. */
function weightsOf(items: readonly string[], tag: string): Omit<LoraTag, 'tag'> {
  const named = new Map<string, string>()
  const [name = '', text, unet] = items.filter((item) => {
    const [key, value] = item.split('=', 2)
    if (value !== undefined) named.set(key!.trim(), value)
    return value === undefined
  })
  const textWeight = number(named.get('te') ?? text ?? '1', tag)
  return { name, text_weight: textWeight, unet_weight: number(named.get('unet') ?? unet ?? String(textWeight), tag) }
}

function number(text: string, tag: string): number {
  const value = toFloat(text.trim())
  if (text.trim() === '' || !Number.isFinite(value))
    throw new PromptSyntaxError(`has ${tag}, whose weight ${JSON.stringify(quote(text))} is not a number`)
  return value
}
