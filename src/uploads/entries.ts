import { EaselError } from '../errors.js'
import { entryField, type PictureField, type PictureList } from './picture-field.js'
import type { Uploads } from './store.js'

/** The part of a form that has the pictures of each list. */
const PARTS: Readonly<Record<PictureList, string>> = { controls: 'control_image', ip_adapters: 'ip_adapter_image' }
const LISTS = Object.entries(PARTS) as [PictureList, string][]

/** The pictures of the lists: their fields by the paths in JSON, and by the names of a form's parts. */
export const ENTRY_PATHS: Readonly<Record<string, PictureField>> = Object.fromEntries(
  LISTS.map(([list]) => [`${list}.*.image`, { list }])
)
export const ENTRY_PARTS: Readonly<Record<string, PictureField>> = Object.fromEntries(
  LISTS.map(([list, part]) => [part, { list }])
)

/**
 * Puts the SHA-256 of a form's pictures into the entries of the lists that they belong to, as JSON has them.
 *
 * @param values of the form's fields
 * @throws EaselError INVALID_REQUEST for a picture without an entry, or an entry that has a picture besides
 */
export function withEntryPictures(
  values: Readonly<Record<string, unknown>>,
  uploads: Pick<Uploads, 'get'>
): Record<string, unknown> {
  const result = { ...values }
  for (const [list, part] of LISTS) {
    const entries: unknown[] = Array.isArray(values[list]) ? [...(values[list] as unknown[])] : []
    for (let index = 0, upload; (upload = uploads.get(entryField(list, index))) !== undefined; index++) {
      delete result[entryField(list, index)]
      const entry = entries[index]
      if (typeof entry !== 'object' || entry === null)
        throw new EaselError(
          'INVALID_REQUEST',
          `${part} needs an entry of ${list} for each picture: send ${list} as JSON`,
          {
            field: list
          }
        )
      if ('image' in entry)
        throw new EaselError('INVALID_REQUEST', `${entryField(list, index)} must be left out in a form: send ${part}`, {
          field: list
        })
      entries[index] = { ...entry, image: upload.sha256 }
    }
    if (entries.length > 0) result[list] = entries
  }
  return result
}
