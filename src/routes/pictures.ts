import type { FastifyRequest } from 'fastify'
import { EaselError } from '../errors.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Caller } from '../service/caller.js'
import type { PictureFile } from '../pictures/reader.js'
import type { Prepared, RequestPictures } from '../service/preparer.js'
import type { ImageService } from '../service/service.js'
import { entryField, type PictureList } from '../uploads/picture-field.js'
import type { Uploads } from '../uploads/store.js'

/**
 * The checked body of a route that takes JSON and forms, which have the same fields. Fastify checks a body by the schema
 * of its content type, so none passes.
 *
 * @throws EaselError INVALID_REQUEST without a body
 */
export function bodyOf({ body }: FastifyRequest): GenerateRequest {
  if (typeof body !== 'object' || body === null)
    throw new EaselError('INVALID_REQUEST', 'the body is empty: send a JSON object or a form')
  return body as GenerateRequest
}

/**
 * Decodes the pictures in the body of a request for images; undefined if it has none. Stops when the client leaves.
 *
 * @param body the effective request, with the pictures' digests
 * @throws EaselError when the request is refused
 */
export async function preparedOf(
  service: ImageService,
  request: FastifyRequest,
  body: GenerateRequest,
  caller: Caller
): Promise<Prepared | undefined> {
  const { uploads } = request
  if (uploads === null) return undefined
  const files = filesOf(uploads, body)
  if (files.start === undefined && files.controls.length + files.ipAdapters.length === 0) return undefined
  try {
    return await whileHere(request, (left) => service.prepare(body, caller, files, left))
  } finally {
    // What is prepared keeps the files if it still needs them.
    uploads.close()
  }
}

/** Does something with a signal that fires when the client leaves. */
export async function whileHere<T>({ raw }: FastifyRequest, work: (left: AbortSignal) => Promise<T>): Promise<T> {
  const leaving = new AbortController()
  const leave = () => leaving.abort(new EaselError('CANCELLED'))
  raw.socket.once('close', leave)
  if (raw.socket.destroyed) leave()
  try {
    return await work(leaving.signal)
  } finally {
    raw.socket.off('close', leave)
  }
}

function filesOf(uploads: Uploads, body: GenerateRequest): RequestPictures {
  const { controls = [], ip_adapters: adapters = [] } = body
  return {
    start: startOf(uploads, body),
    controls: entryFiles(uploads, 'controls', controls),
    ipAdapters: entryFiles(uploads, 'ip_adapters', adapters),
    keep: () => uploads.keep()
  }
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
