import { EaselError } from '../errors.js'
import type { Size } from '../pictures/pixels.js'
import type { Capabilities } from '../workers/capabilities.js'
import { includesSize } from '../workers/sizes.js'
import { NOT_READY_RETRY_SECONDS } from './failures.js'

/**
 * Checks that the workers make images of a size.
 *
 * @param field the field to blame, of the sizes that are offered
 * @throws EaselError UNSUPPORTED_SIZE; NOT_READY while it is still being compiled
 */
export function checkOffered(
  size: Size,
  { sizes, compiling }: Pick<Capabilities, 'sizes' | 'compiling'>,
  field: (sizes: Capabilities['sizes']) => string
): void {
  if (includesSize(sizes, size)) return
  const { width, height } = size
  const offered = sizes.map(([w, h]) => `${w}x${h}`).join(', ')
  if (includesSize(compiling, size)) {
    throw new EaselError(
      'NOT_READY',
      `${width}x${height} is still being compiled; retry later, or use one of ${offered}`,
      {
        field: field(sizes),
        retryAfter: NOT_READY_RETRY_SECONDS
      }
    )
  }
  throw new EaselError(
    'UNSUPPORTED_SIZE',
    `${width}x${height} is not offered; width x height must be one of ${offered}`,
    { field: field(sizes) }
  )
}
