import type { FastifyRequest } from 'fastify'
import { EaselError } from '../errors.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Caller } from '../service/caller.js'
import type { Prepared } from '../service/preparer.js'
import type { ImageService } from '../service/service.js'

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
  const { uploads, raw } = request
  const image = uploads?.get('image')
  if (uploads === null || image === undefined) return undefined
  const leaving = new AbortController()
  const leave = () => leaving.abort(new EaselError('CANCELLED'))
  raw.socket.once('close', leave)
  if (raw.socket.destroyed) leave()
  const files = {
    image,
    // A picture may be its own mask.
    mask: uploads.get('mask_image') ?? (body.mask_image === image.sha256 ? image : undefined),
    maskMeaning: body.mask_from ?? 'white',
    keep: () => uploads.keep()
  }
  try {
    return await service.prepare(body, caller, files, leaving.signal)
  } finally {
    raw.socket.off('close', leave)
    // What is prepared keeps the files if it still needs them.
    uploads.close()
  }
}
