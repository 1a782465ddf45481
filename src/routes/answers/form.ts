import type { FastifyRequest } from 'fastify'
import { EaselError } from '../../errors.js'
import { type Format, FORMATS, mimeOf } from '../../image/formats.js'
import type { GenerateRequest } from '../../schemas/generate.js'

export const JSON_TYPE = 'application/json'
export const MULTIPART_TYPE = 'multipart/mixed'
export const EVENTS_TYPE = 'text/event-stream'
/** What a client may accept that wants the file, whatever its format is. */
export const BYTES_TYPE = 'application/octet-stream'

/** How a request is answered. */
export type Form = 'image' | 'json' | 'multipart' | 'events'

const FORMS: Readonly<Record<string, Form>> = {
  [JSON_TYPE]: 'json',
  [MULTIPART_TYPE]: 'multipart',
  [EVENTS_TYPE]: 'events'
}

/** A parameter of a media type in Accept, other than its weight. */
const PARAMETER = /; *(?!q=)[\w.+-]+=("[^"]*"|[^;,"]*)/gi

/**
 * Chooses the form of the answer by `Accept`: a single image as itself, anything as JSON, multipart or events.
 * Where the client takes whatever there is, one image comes as itself and several as JSON.
 *
 * @returns the form, and the file format, which `Accept` decides when the body does not
 * @throws EaselError NOT_ACCEPTABLE
 */
export function chooseForm(
  request: FastifyRequest,
  { num_images = 1, output_format }: GenerateRequest
): { form: Form; format: Format | undefined } {
  const formats = output_format === undefined ? FORMATS : [output_format]
  const images = num_images === 1 ? [...formats.map(mimeOf), BYTES_TYPE] : []
  const offers = [...images, JSON_TYPE, MULTIPART_TYPE, EVENTS_TYPE]
  // A charset and the like say how something is to be written, not what: nothing that we offer has any.
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
