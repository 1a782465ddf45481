import { EaselError } from '../errors.js'
import type { PictureFile } from '../pictures/reader.js'
import type { GenerateRequest } from '../schemas/generate.js'
import { entryField, type PictureList } from '../uploads/picture-field.js'
import type { Uploads } from '../uploads/store.js'
import type { RequestPictures } from './preparer.js'

/**
 * The pictures of a request among its uploads; undefined if it has none.
 *
 * @param body with the pictures' digests in their place
 * @throws EaselError INVALID_REQUEST for an entry whose picture is none of them
 */
export function picturesOf(uploads: Uploads, body: GenerateRequest): RequestPictures | undefined {
  const { controls = [], ip_adapters: adapters = [] } = body
  const files = {
    start: startOf(uploads, body),
    controls: entryFiles(uploads, 'controls', controls),
    ipAdapters: entryFiles(uploads, 'ip_adapters', adapters),
    keep: () => uploads.keep()
  }
  return files.start === undefined && files.controls.length + files.ipAdapters.length === 0 ? undefined : files
}

function startOf(
  uploads: Uploads,
  { image, mask_image: mask, mask_from: maskMeaning = 'white' }: GenerateRequest
): RequestPictures['start'] {
  const start = image === undefined ? undefined : uploads.get('image')
  if (start === undefined) return undefined
  // A picture may be its own mask.
  return { image: start, mask: uploads.get('mask_image') ?? (mask === start.sha256 ? start : undefined), maskMeaning }
}

/** The file of each entry, by its digest. An entry without a picture is refused later, by its name. */
function entryFiles(
  uploads: Uploads,
  list: PictureList,
  entries: readonly { readonly image?: string }[]
): readonly PictureFile[] {
  return entries.flatMap(({ image }, index) => {
    if (image === undefined) return []
    const upload = uploads.withDigest(image)
    const field = entryField(list, index)
    if (upload === undefined)
      throw new EaselError('INVALID_REQUEST', `${field} is not a picture: send the file`, { field: list })
    return [{ field, read: upload.read }]
  })
}
