/** File formats, by their names in requests. */
export const FORMATS = ['png', 'jpeg', 'webp'] as const
export type Format = (typeof FORMATS)[number]

/** The media type, e.g. `image/png` for `png`. */
export function mimeOf(format: Format): `image/${Format}` {
  return `image/${format}`
}
