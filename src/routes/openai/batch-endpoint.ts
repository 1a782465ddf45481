import { Ajv } from 'ajv'
import type { AnswerPiece, Endpoint } from '../../batches/requests.js'
import { EaselError } from '../../errors.js'
import { invalidBy } from '../../plugins/errors.js'
import { mimeOf } from '../../image/formats.js'
import { OpenAiImagesRequest } from '../../schemas/openai.js'
import { imagesBody } from './answer.js'
import { secondsOf } from './list.js'
import { openAiError } from './errors.js'
import { type OpenAiParts, requestOf } from './respond.js'
import { responseFormatOf, translate } from './translate.js'

export interface BatchEndpointParts extends Pick<OpenAiParts, 'service' | 'snapSizes'> {
  /** Most bytes of a line. */
  bodyLimit: number
}

/** Lists whose entries have pictures. */
const PICTURES = ['controls', 'ip_adapters'] as const

/** What a line of a batch may ask for: the images of POST /v1/images/generations. */
export function generationsEndpoint({ service, snapSizes, bodyLimit }: BatchEndpointParts): Endpoint {
  // As strict as the route.
  const ajv = new Ajv({ allowUnionTypes: true, strict: false, coerceTypes: false, allErrors: false })
  const valid = ajv.compile<OpenAiImagesRequest>(OpenAiImagesRequest)
  return {
    path: '/v1/images/generations',
    mostBytes: bodyLimit,
    check(body) {
      if (!valid(body)) throw invalidBy(valid.errors ?? [])
      if (body.stream === true)
        throw new EaselError('INVALID_REQUEST', 'stream must be left out: a batch streams nothing', { field: 'stream' })
      for (const field of PICTURES)
        if ((body[field]?.length ?? 0) > 0)
          throw new EaselError('INVALID_REQUEST', `${field} must be left out: lines of a batch take no pictures yet`, {
            field
          })
    },
    requestOf(body) {
      const asked = body as OpenAiImagesRequest
      const { request, offer } = requestOf({ service, snapSizes }, asked, (offered) => translate(asked, offered))
      return { request, known: offer !== undefined }
    },
    paramOf: (error) => openAiError(error).error.param,
    errorBody: openAiError,
    answer(body, { images, prompts, stored }, endedAt) {
      const asUrl = responseFormatOf(body as OpenAiImagesRequest) === 'url'
      const lists = images.map(({ format }, which): AnswerPiece[] => {
        if (!asUrl) return ['{"b64_json":"', { file: which }, '"}']
        if (stored !== undefined) return ['{"url":"', { url: which }, '"}']
        return [`{"url":"data:${mimeOf(format)};base64,`, { file: which }, '"}']
      })
      const data = lists.flatMap((list, index) => (index === 0 ? list : [',', ...list]))
      return imagesBody(data, images[0]!, { prompts }, secondsOf(endedAt))
    }
  }
}
