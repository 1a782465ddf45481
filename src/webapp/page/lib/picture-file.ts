/** Width and height in pixels. */
export interface Size {
  readonly width: number
  readonly height: number
}

/** A part of a picture, in its pixels. */
export interface Rect extends Size {
  readonly x: number
  readonly y: number
}

/** Each type by bytes of its files, as Latin-1, at an offset. */
const SIGNATURES = [
  ['image/png', 0, '\x89PNG\r\n\x1a\n'],
  ['image/jpeg', 0, '\xff\xd8\xff'],
  ['image/webp', 8, 'WEBP']
] as const

/** The type of a picture by its first bytes, whatever it is named; undefined if the server does not read it. */
export async function typeOf(file: Blob): Promise<string | undefined> {
  const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()))
  return SIGNATURES.find(([, at, bytes]) => head.startsWith(bytes, at))?.[0]
}

/** The size of a picture as it is shown, upright. @throws DOMException if it cannot be read */
export async function sizeOf(file: Blob): Promise<Size> {
  const image = new Image()
  const url = URL.createObjectURL(file)
  try {
    image.src = url
    await image.decode()
    return { width: image.naturalWidth, height: image.naturalHeight }
  } finally {
    URL.revokeObjectURL(url)
  }
}

/** SHA-256 in hexadecimal; undefined over plain http, where browsers have no digests. */
export async function sha256Of(file: Blob): Promise<string | undefined> {
  // Typed as always there.
  const { subtle } = crypto as { subtle?: SubtleCrypto }
  if (subtle === undefined) return undefined
  const digest = new Uint8Array(await subtle.digest('SHA-256', await file.arrayBuffer()))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
