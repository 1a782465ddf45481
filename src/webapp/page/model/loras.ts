import type { GenerateRequest } from '../api/types.js'

/** A LoRA of a request, as the form has it. */
export type ChosenLora = NonNullable<GenerateRequest['loras']>[number]

/** A tag of AUTOMATIC1111's syntax that names a LoRA in a prompt. */
const TAG = /<(?:lora|lyco):([^:>]+)[^>]*>/gu

/** The one weight of a LoRA; undefined if it has several. */
export function weightOf({ weight = 1, unet_weight = weight, text_weight = weight }: ChosenLora): number | undefined {
  return unet_weight === text_weight ? unet_weight : undefined
}

/**
 * The LoRAs of a recipe that its prompts do not name: the prompts keep naming the others. Drops digests, so that a
 * newer file of that name serves.
 */
export function lorasOfRecipe({
  loras = [],
  prompt,
  prompt_2 = '',
  prompt_syntax
}: Pick<GenerateRequest, 'loras' | 'prompt' | 'prompt_2' | 'prompt_syntax'>): ChosenLora[] {
  const tagged = prompt_syntax === 'a1111' ? [...`${prompt} ${prompt_2}`.matchAll(TAG)].map(([, name]) => name!) : []
  return loras
    .filter(({ name }) => !tagged.some((tag) => tag === name || name.endsWith(`/${tag}`)))
    .map((lora) => {
      const { name, unet_weight, text_weight } = lora
      const weight = weightOf(lora)
      return weight === undefined ? { name, unet_weight: unet_weight!, text_weight: text_weight! } : { name, weight }
    })
}

/** "ink 0.8, oil 1 (text 0.5)", for people. */
export function describeLoras(loras: readonly ChosenLora[]): string {
  return loras
    .map((lora) => {
      const { name, weight = 1, unet_weight = weight, text_weight = weight } = lora
      return unet_weight === text_weight ? `${name} ${unet_weight}` : `${name} ${unet_weight} (text ${text_weight})`
    })
    .join(', ')
}
