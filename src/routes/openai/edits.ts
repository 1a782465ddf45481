import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { EaselError } from '../../errors.js'
import { FORM_TYPE, pictureBodiesPlugin } from '../../plugins/picture-bodies.js'
import { commonHeaders } from '../../schemas/error.js'
import { openAiExample } from '../../schemas/examples.js'
import { ADMISSION_CODES, END_CODES, GenerateHeaders, JOB_FAILURES } from '../../schemas/generate.js'
import {
  OpenAiEditsForm,
  OpenAiEditsRequest,
  OpenAiImagesResponse,
  OpenAiVariationsForm
} from '../../schemas/openai.js'
import { acceptedJob } from '../../schemas/job-answer.js'
import { ref } from '../../schemas/ref.js'
import { ENTRY_PARTS, ENTRY_PATHS } from '../../uploads/entries.js'
import { eventsSchema } from '../answers/events.js'
import { EVENTS_TYPE, JSON_TYPE } from '../answers/form.js'
import { answerHeaderSchemas } from '../answers/headers.js'
import { openAiFailures } from './errors.js'
import { type OpenAiParts, type PictureParts, respond } from './respond.js'
import { type Pictures, translateEdit, translateVariation } from './translate.js'

const EVENTS = 'The events of the OpenAI API: `image_edit.partial_image` and `image_edit.completed`.'

const answers = {
  200: {
    description: 'The images, or with `stream` the events while they are made.',
    headers: { ...commonHeaders, ...answerHeaderSchemas },
    content: {
      [JSON_TYPE]: { schema: ref(OpenAiImagesResponse), example: openAiExample },
      [EVENTS_TYPE]: { schema: eventsSchema(EVENTS) }
    }
  },
  202: acceptedJob,
  ...openAiFailures(...ADMISSION_CODES, ...END_CODES, 'RESULTS_UNAVAILABLE', ...JOB_FAILURES)
}

/** The official clients write a list of files as parts with these names. */
const LISTED_PARTS = Object.fromEntries(Object.entries(ENTRY_PARTS).map(([name, field]) => [`${name}[]`, field]))

/** The parts of the OpenAI API that start from a picture. */
export const openAiEditRoutes: FastifyPluginAsyncTypebox<PictureParts> = async (
  app,
  { uploads, bodyLimit, ...parts }
) => {
  await app.register(pictureBodiesPlugin, {
    store: uploads,
    bodyLimit,
    json: { 'images.*.image_url': 'image', 'mask.image_url': 'mask_image', ...ENTRY_PATHS },
    form: { image: 'image', 'image[]': 'image', mask: 'mask_image', ...ENTRY_PARTS, ...LISTED_PARTS },
    properties: OpenAiEditsForm.properties
  })

  app.post(
    '/images/edits',
    {
      ...app.pictureRoute,
      schema: {
        tags: ['openai'],
        operationId: 'createImageEdit',
        summary: 'Edit an image (OpenAI Images API)',
        description:
          'Repaints a picture, or what is transparent in `mask`. Takes what the official clients send, and the SDXL fields of POST /v1/images/generations, `strength`, `resize_mode`, `padding_mask_crop` and `mask_from`.',
        headers: GenerateHeaders,
        body: {
          content: {
            [FORM_TYPE]: { schema: ref(OpenAiEditsForm) },
            [JSON_TYPE]: { schema: ref(OpenAiEditsRequest) }
          }
        },
        response: answers
      }
    },
    async (request, reply) => {
      const sent = picturesOf(request)
      const asked = request.body as OpenAiEditsForm
      const pictures = ownsMask(asked, sent) && (await holed(parts, request)) ? { ...sent, mask: sent.image } : sent
      return respond(parts, request, reply, {
        asked,
        headers: request.headers,
        kind: 'image_edit',
        translate: (offered) => translateEdit(asked, pictures, offered)
      })
    }
  )

  app.post(
    '/images/variations',
    {
      ...app.pictureRoute,
      schema: {
        tags: ['openai'],
        operationId: 'createImageVariation',
        summary: 'Vary an image (OpenAI Images API)',
        description: 'Makes images from a picture without a prompt. Takes the SDXL fields of POST /v1/images/edits.',
        headers: GenerateHeaders,
        body: { content: { [FORM_TYPE]: { schema: ref(OpenAiVariationsForm) } } },
        response: answers
      }
    },
    async (request, reply) => {
      const pictures = picturesOf(request)
      const asked = request.body as OpenAiVariationsForm
      return respond(parts, request, reply, {
        // The API's only model of variations answers with URLs.
        asked: { ...asked, response_format: asked.response_format ?? 'url' },
        headers: request.headers,
        kind: 'image_edit',
        translate: (offered) => translateVariation(asked, pictures, offered)
      })
    }
  )
}

/** Models that repaint the whole picture without a mask, whatever is transparent in it. */
const WHOLE = /^(chatgpt|gpt)-image/

/**
 * Whether a picture with transparent parts is its own mask: without another one, which these models need.
 *
 * @see https://platform.openai.com/docs/api-reference/images/createEdit
 */
function ownsMask({ model, mask_from: from }: OpenAiEditsForm, { mask }: Pictures): boolean {
  return mask === undefined && !WHOLE.test(model ?? '') && (from ?? 'transparent') === 'transparent'
}

/** Whether parts of the request's picture are transparent. @throws EaselError for a file that is no picture */
function holed({ service }: OpenAiParts, { uploads }: FastifyRequest): Promise<boolean> {
  return service.hasHoles(uploads!.get('image')!)
}

/** @throws EaselError INVALID_REQUEST without a picture */
function picturesOf({ uploads }: FastifyRequest): Pictures {
  const image = uploads?.get('image')
  if (image === undefined)
    throw new EaselError('INVALID_REQUEST', 'image must be sent: a PNG, JPEG or WebP file', { field: 'image' })
  return { image: image.sha256, mask: uploads?.get('mask_image')?.sha256 }
}
