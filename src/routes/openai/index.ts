import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import { answerErrors } from '../../plugins/errors.js'
import { commonHeaders } from '../../schemas/error.js'
import { healthExample, openAiExample } from '../../schemas/examples.js'
import { ADMISSION_CODES, END_CODES, GenerateHeaders } from '../../schemas/generate.js'
import { EXTRAS, OpenAiImagesRequest, OpenAiImagesResponse, OpenAiModel } from '../../schemas/openai.js'
import { ref } from '../../schemas/ref.js'
import { success } from '../../schemas/success.js'
import { eventsSchema } from '../answers/events.js'
import { EVENTS_TYPE } from '../answers/form.js'
import { answerHeaderSchemas } from '../answers/headers.js'
import { type EditParts, openAiEditRoutes } from './edits.js'
import { openAiError, openAiFailures } from './errors.js'
import { respond } from './respond.js'
import { translate } from './translate.js'

const EVENTS = 'The events of the OpenAI API: `image_generation.partial_image` and `image_generation.completed`.'
const Events = { schema: eventsSchema(EVENTS) }

/** The image generation part of the OpenAI API, under /v1. */
export const openAiRoutes: FastifyPluginAsyncTypebox<EditParts> = async (app, parts) => {
  const { service } = parts
  answerErrors(app, openAiError)

  app.post(
    '/images/generations',
    {
      onRequest: app.countRequest,
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
              'application/json': { schema: ref(OpenAiImagesResponse), example: openAiExample },
              [EVENTS_TYPE]: Events
            }
          },
          ...openAiFailures(...ADMISSION_CODES, ...END_CODES)
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
  await app.register(openAiEditRoutes, { ...parts, prefix: '' })

  const List = Type.Object({ object: Type.Literal('list'), data: Type.Array(ref(OpenAiModel)) })
  const example: OpenAiModel = {
    id: 'stable-diffusion-xl-base-1.0',
    object: 'model',
    created: 0,
    owned_by: 'easel',
    family: 'sdxl',
    sizes: [[1024, 1024]],
    defaults: healthExample.defaults!,
    presets: healthExample.presets
  }
  const models = (): OpenAiModel[] =>
    service.offers.map(({ model: { id, family }, sizes, defaults, presets }) => {
      const { family: _, ...rest } = example
      return { ...rest, id, ...(family === undefined ? {} : { family }), sizes, defaults, presets }
    })

  app.get(
    '/models',
    {
      schema: {
        tags: ['openai'],
        operationId: 'listModels',
        summary: 'List the models served',
        response: {
          200: success(List, 'Each model of which a worker has been ready, the default one first.', {
            object: 'list',
            data: [example]
          }),
          ...openAiFailures('UNAUTHORIZED')
        }
      }
    },
    async () => ({ object: 'list' as const, data: models() })
  )

  app.get(
    '/models/:model',
    {
      schema: {
        tags: ['openai'],
        operationId: 'retrieveModel',
        summary: 'Get one model',
        params: Type.Object({ model: Type.String({ description: 'Its id, as listed by GET /v1/models.' }) }),
        response: {
          200: success(ref(OpenAiModel), 'The model.', example),
          ...openAiFailures('UNAUTHORIZED', 'MODEL_NOT_FOUND')
        }
      }
    },
    async (request) => {
      const found = models().find(({ id }) => id === request.params.model)
      if (found === undefined)
        throw new EaselError(
          'MODEL_NOT_FOUND',
          `model ${JSON.stringify(excerpt(request.params.model))} is not served; GET /v1/models lists those that are`,
          { field: 'model' }
        )
      return found
    }
  )
}
