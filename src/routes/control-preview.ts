import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../errors.js'
import { pngOf } from '../pictures/transform.js'
import { FORM_TYPE, type PictureBodies, pictureBodiesPlugin } from '../plugins/picture-bodies.js'
import { ControlPreviewForm, ControlPreviewRequest } from '../schemas/control-preview.js'
import { commonHeaders, failures } from '../schemas/error.js'
import { ref } from '../schemas/ref.js'
import type { ImageService } from '../service/service.js'
import type { UploadStore } from '../uploads/store.js'
import { JSON_TYPE } from './answers/form.js'
import { whileHere } from './pictures.js'

export interface ControlPreviewParts extends Pick<PictureBodies, 'bodyLimit'> {
  service: ImageService
  uploads: UploadStore
}

const PICTURE = { image: 'image' } as const
const PNG = 'image/png'

/** POST /controls/preview: what a net gets of a control picture. */
export const controlPreviewRoute: FastifyPluginAsyncTypebox<ControlPreviewParts> = async (
  app,
  { service, uploads: store, bodyLimit }
) => {
  const { properties } = ControlPreviewRequest
  await app.register(pictureBodiesPlugin, { store, bodyLimit, json: PICTURE, form: PICTURE, properties })

  app.post(
    '/controls/preview',
    {
      ...app.pictureRoute,
      schema: {
        tags: ['images'],
        operationId: 'previewControl',
        summary: 'Preview a control picture',
        description:
          "What a ControlNet or T2I-Adapter gets of a picture: brought to the image's size, with the preprocessor's lines. Takes these fields of an entry of `controls`, and makes no image.",
        body: {
          content: {
            [FORM_TYPE]: { schema: ref(ControlPreviewForm) },
            [JSON_TYPE]: { schema: ref(ControlPreviewRequest) }
          }
        },
        response: {
          200: {
            description: 'A PNG file of the size.',
            headers: commonHeaders,
            content: { [PNG]: { schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary' }) } }
          },
          ...failures(
            'INVALID_REQUEST',
            'UNAUTHORIZED',
            'MODEL_NOT_FOUND',
            'UNSUPPORTED_SIZE',
            'UNSUPPORTED_FEATURE',
            'INVALID_PICTURE',
            'LIMIT_EXCEEDED',
            'REQUEST_TIMEOUT',
            'BODY_TOO_LARGE',
            'UNSUPPORTED_MEDIA_TYPE',
            'EXPECTATION_FAILED',
            'HEADERS_TOO_LARGE',
            'RATE_LIMITED',
            'NOT_READY',
            'DRAINING',
            'MEMORY_FULL',
            'STORAGE_FULL',
            'CANCELLED',
            'DEADLINE_EXCEEDED'
          )
        }
      }
    },
    async (request, reply) => {
      const uploads = request.uploads!
      const image = uploads.get('image')
      if (image === undefined)
        throw new EaselError('INVALID_REQUEST', 'image must be sent: a PNG, JPEG or WebP file', { field: 'image' })
      const letGo = uploads.keep()
      try {
        const asked = request.body as ControlPreviewRequest
        const made = await whileHere(request, (left) => service.previewControl(asked, image, left))
        return reply.type(PNG).send(await pngOf(made))
      } finally {
        letGo()
      }
    }
  )
}
