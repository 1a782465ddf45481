/** File formats, by the names that requests use. */
export const FORMATS = ['png', 'jpeg', 'webp'] as const
export type Format = (typeof FORMATS)[number]

/** `png` is `image/png`. */
export function mimeOf(format: Format): `image/${Format}` {
  return `image/${format}`
}
