import type { Size } from './pixels.js'

/** How a picture is brought to a size, with diffusers' names. */
export const RESIZE_MODES = ['default', 'fill', 'crop'] as const
export type ResizeMode = (typeof RESIZE_MODES)[number]

/** A picture scaled to `scaled` and then placed with its top left corner at (left, top) of the target. */
export interface Fit {
  readonly scaled: Size
  /** Negative where the target shows less than the scaled picture. */
  readonly left: number
  readonly top: number
}

/**
 * How `picture` is fitted into `target`. `default` stretches it; `fill` shows all of it and leaves borders; `crop` covers
 * the target and cuts the rest off. Both centre it.
 *
 * @see https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/image_processor.py#L378-L461
 */
export function fitOf(picture: Size, target: Size, mode: ResizeMode): Fit {
  if (mode === 'default') return { scaled: target, left: 0, top: 0 }
  /** Above 0 if the picture's aspect ratio is larger than the target's, below 0 if it is smaller. */
  const wider = picture.width * target.height - target.width * picture.height
  const byWidth = mode === 'fill' ? wider > 0 : wider < 0
  const byHeight = mode === 'fill' ? wider <= 0 : wider >= 0
  const scaled = {
    width: byWidth ? target.width : Math.max(1, Math.floor((picture.width * target.height) / picture.height)),
    height: byHeight ? target.height : Math.max(1, Math.floor((picture.height * target.width) / picture.width))
  }
  return {
    scaled,
    left: Math.floor(target.width / 2) - Math.floor(scaled.width / 2),
    top: Math.floor(target.height / 2) - Math.floor(scaled.height / 2)
  }
}
