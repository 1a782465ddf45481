import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { pictureBodiesPlugin } from '../../plugins/picture-bodies.js'
import { commonHeaders } from '../../schemas/error.js'
import { openAiExample } from '../../schemas/examples.js'
import { ADMISSION_CODES, END_CODES, GenerateHeaders, JOB_FAILURES } from '../../schemas/generate.js'
import { EXTRAS, OpenAiImagesRequest, OpenAiImagesResponse } from '../../schemas/openai.js'
import { acceptedJob } from '../../schemas/job-answer.js'
import { ref } from '../../schemas/ref.js'
import { ENTRY_PATHS } from '../../uploads/entries.js'
import { eventsSchema } from '../answers/events.js'
import { EVENTS_TYPE, JSON_TYPE } from '../answers/form.js'
import { answerHeaderSchemas } from '../answers/headers.js'
import { openAiFailures } from './errors.js'
import { type PictureParts, respond } from './respond.js'
import { translate } from './translate.js'

const EVENTS = 'The events of the OpenAI API: `image_generation.partial_image` and `image_generation.completed`.'
const Events = { schema: eventsSchema(EVENTS) }

/** POST /v1/images/generations makes images from a prompt, and from the pictures of `controls` and `ip_adapters`. */
export const openAiGenerationRoute: FastifyPluginAsyncTypebox<PictureParts> = async (
  app,
  { uploads, bodyLimit, ...parts }
) => {
  await app.register(pictureBodiesPlugin, {
    store: uploads,
    bodyLimit,
    json: ENTRY_PATHS,
    form: {},
    properties: OpenAiImagesRequest.properties
  })

  app.post(
    '/images/generations',
    {
      ...app.pictureRoute,
      schema: {
        tags: ['openai'],
        operationId: 'createImage',
        summary: 'Make images (OpenAI Images API)',
        description: `Takes what the official clients send, and these SDXL fields: ${EXTRAS.map(({ name }) => name).join(', ')}.`,
        headers: GenerateHeaders,
        body: ref(OpenAiImagesRequest),
        response: {
          200: {
            description: 'The images, or with `stream` the events while they are made.',
            headers: { ...commonHeaders, ...answerHeaderSchemas },
            content: {
              [JSON_TYPE]: { schema: ref(OpenAiImagesResponse), example: openAiExample },
              [EVENTS_TYPE]: Events
            }
          },
          202: acceptedJob,
          ...openAiFailures(...ADMISSION_CODES, ...END_CODES, 'RESULTS_UNAVAILABLE', ...JOB_FAILURES)
        }
      }
    },
    async (request, reply) => {
      const { body } = request
      return respond(parts, request, reply, {
        asked: body,
        headers: request.headers,
        kind: 'image_generation',
        translate: (offered) => translate(body, offered)
      })
    }
  )
}
