/** What of a mask is repainted: what is white, as in diffusers, or black, or transparent, as in OpenAI's API. */
export const MASK_MEANINGS = ['white', 'black', 'transparent'] as const
export type MaskMeaning = (typeof MASK_MEANINGS)[number]
