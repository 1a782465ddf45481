/**
 * What enlarges an image between its two passes, with the web UI's name for it: a filter of pixels, or a filter of
 * latents, which are neither decoded nor encoded then. No upscaler of the web UI has the name of our first one.
 *
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/shared.py
 */
export const UPSCALER_NAMES = {
  bicubic: 'Bicubic',
  latent: 'Latent',
  'latent-antialiased': 'Latent (antialiased)',
  'latent-bicubic': 'Latent (bicubic)',
  'latent-bicubic-antialiased': 'Latent (bicubic antialiased)',
  'latent-nearest': 'Latent (nearest)',
  'latent-nearest-exact': 'Latent (nearest-exact)'
} as const

export type Upscaler = keyof typeof UPSCALER_NAMES
export type LatentUpscaler = Exclude<Upscaler, 'bicubic'>

export const UPSCALERS = Object.keys(UPSCALER_NAMES) as Upscaler[]
export const LATENT_UPSCALERS = UPSCALERS.filter((name): name is LatentUpscaler => name !== 'bicubic')
