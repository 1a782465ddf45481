import { EaselError } from '../errors.js'
import type { Size } from '../pictures/pixels.js'
import type { Capabilities } from '../workers/capabilities.js'
import { includesSize } from '../workers/sizes.js'
import { NOT_READY_RETRY_SECONDS } from './failures.js'

type Offered = Pick<Capabilities, 'sizes' | 'compiling'>

/**
 * Checks that the workers make images of the size that a request asks for.
 *
 * @throws EaselError UNSUPPORTED_SIZE; NOT_READY while it is still being compiled
 */
export function checkSize({ width, height }: Size, model: Offered): void {
  checkOffered({ width, height }, model, (sizes) => (sizes.some(([w]) => w === width) ? 'height' : 'width'))
}

/**
 * Checks that the workers make images of a size.
 *
 * @param field the field to blame, of the sizes that are offered
 * @throws EaselError UNSUPPORTED_SIZE; NOT_READY while it is still being compiled
 */
export function checkOffered(
  size: Size,
  { sizes, compiling }: Offered,
  field: (sizes: Capabilities['sizes']) => string
): void {
  if (includesSize(sizes, size)) return
  const { width, height } = size
  const offered = sizes.map(([w, h]) => `${w}x${h}`).join(', ')
  const blamed = field(sizes)
  // The sizes of an image are its own fields.
  const asked = blamed === 'width' || blamed === 'height' ? `${width}x${height}` : `${blamed} ${width}x${height}`
  if (includesSize(compiling, size)) {
    throw new EaselError('NOT_READY', `${asked} is still being compiled; retry later, or use one of ${offered}`, {
      field: blamed,
      retryAfter: NOT_READY_RETRY_SECONDS
    })
  }
  throw new EaselError('UNSUPPORTED_SIZE', `${asked} is not offered; width x height must be one of ${offered}`, {
    field: blamed
  })
}
