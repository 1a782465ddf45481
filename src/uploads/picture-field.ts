import { EaselError } from '../errors.js'
import { MAX_CONTROLS, MAX_IP_ADAPTERS } from '../parameters.js'

/** The lists whose entries have pictures, and the most that each may have. */
const MOST = { controls: MAX_CONTROLS, ip_adapters: MAX_IP_ADAPTERS } as const
export type PictureList = keyof typeof MOST

/** The most pictures of a request: `image`, `mask_image`, and those of the lists. */
export const MAX_PICTURES = 2 + MAX_CONTROLS + MAX_IP_ADAPTERS

/** The request's field of a picture: its name, or the list in whose entries it is `image`. */
export type PictureField = string | { readonly list: PictureList; readonly most?: number }

/**
 * The name of a picture's field. Bounds how many pictures a request brings before anything checks its lists.
 *
 * @param index of the entry in its list
 * @throws EaselError INVALID_REQUEST
 */
export function fieldNameOf(field: PictureField, index: number): string {
  if (typeof field === 'string') return field
  const { list, most = MOST[list] } = field
  if (index >= most)
    throw new EaselError('INVALID_REQUEST', `${list} must have at most ${most} pictures`, { field: list })
  return entryField(list, index)
}

/** The field of the picture of an entry. */
export function entryField(list: PictureList, index: number): string {
  return `${list}[${index}].image`
}
