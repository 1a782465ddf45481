import type { FastifyRequest } from 'fastify'
import { EaselError } from '../../errors.js'
import { type Format, FORMATS, mimeOf } from '../../image/formats.js'
import type { GenerateRequest } from '../../schemas/generate.js'

export const JSON_TYPE = 'application/json'
export const MULTIPART_TYPE = 'multipart/mixed'
export const EVENTS_TYPE = 'text/event-stream'
/** For clients that accept the image file in any format. */
export const BYTES_TYPE = 'application/octet-stream'

/** The form of an answer. */
export type Form = 'image' | 'json' | 'multipart' | 'events'

const FORMS: Readonly<Record<string, Form>> = {
  [JSON_TYPE]: 'json',
  [MULTIPART_TYPE]: 'multipart',
  [EVENTS_TYPE]: 'events'
}

/** A media type parameter in Accept other than `q`. */
const PARAMETER = /; *(?!q=)[\w.+-]+=("[^"]*"|[^;,"]*)/gi

/**
 * Chooses the form of the answer from `Accept`. Any request can have JSON, multipart or events; only a request for one
 * image can have the file itself. If the client accepts anything, one image is sent as its file and several as JSON.
 *
 * @returns the form, and the file format: the body's, else the one that `Accept` chose
 * @throws EaselError NOT_ACCEPTABLE
 */
export function chooseForm(
  request: FastifyRequest,
  { num_images = 1, output_format }: GenerateRequest
): { form: Form; format: Format | undefined } {
  const formats = output_format === undefined ? FORMATS : [output_format]
  const images = num_images === 1 ? [...formats.map(mimeOf), BYTES_TYPE] : []
  const offers = [...images, JSON_TYPE, MULTIPART_TYPE, EVENTS_TYPE]
  // Ignore parameters such as charset: the types we offer have none, so they would never match.
  request.raw.headers.accept = request.headers.accept?.replaceAll(PARAMETER, '')
  const chosen = request.accepts().type(offers)
  if (typeof chosen !== 'string')
    throw new EaselError(
      'NOT_ACCEPTABLE',
      `Accept must allow one of ${offers.join(', ')}${num_images > 1 ? ' for several images' : ''}`,
      { field: 'accept' }
    )
  const format = FORMATS.find((each) => mimeOf(each) === chosen)
  return { form: FORMS[chosen] ?? 'image', format: output_format ?? format }
}
