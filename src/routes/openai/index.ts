import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError, type ErrorCode } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import { answerErrors } from '../../plugins/errors.js'
import { commonHeaders, failuresAs } from '../../schemas/error.js'
import { healthExample, openAiExample } from '../../schemas/examples.js'
import { ADMISSION_CODES, END_CODES, GenerateHeaders } from '../../schemas/generate.js'
import { EXTRAS, OpenAiImagesRequest, OpenAiImagesResponse, OpenAiModel } from '../../schemas/openai.js'
import { ref } from '../../schemas/ref.js'
import { success } from '../../schemas/success.js'
import type { ImageService } from '../../service/service.js'
import { sendPieces } from '../answers/body.js'
import { EVENT_HEADERS, eventsSchema, EventStream } from '../answers/events.js'
import { EVENTS_TYPE, JSON_TYPE } from '../answers/form.js'
import { answerHeaders, answerHeaderSchemas } from '../answers/headers.js'
import { callerOf, whenDone } from '../caller.js'
import { imagesResponse, streamPieces } from './answer.js'
import { openAiError, openAiErrorForm } from './errors.js'
import { modelOf, partialImagesOf, responseFormatOf, translate } from './translate.js'

interface OpenAiParts {
  service: ImageService
  /** Whether answers include the recipe, which contains the prompts. */
  withRecipe: boolean
  /** Whether to replace a size that is not offered by the nearest one. */
  snapSizes: boolean
}

const EVENTS = 'The events of the OpenAI API: `image_generation.partial_image` and `image_generation.completed`.'
const Events = { schema: eventsSchema(EVENTS) }

const failures = (...codes: readonly ErrorCode[]) => failuresAs(openAiErrorForm, codes)

/** The image generation part of the OpenAI API, under /v1. */
export const openAiRoutes: FastifyPluginAsyncTypebox<OpenAiParts> = async (app, { service, withRecipe, snapSizes }) => {
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
          ...failures(...ADMISSION_CODES, ...END_CODES)
        }
      }
    },
    async (request, reply) => {
      const { body } = request
      const model = modelOf(
        body,
        service.models.flatMap(({ name }) => name ?? [])
      )
      const offer = service.offerOf(model)
      const translation = translate(body, {
        steps: offer?.defaults.num_inference_steps ?? 1,
        presets: offer?.presets ?? [],
        sizes: offer?.sizes ?? [],
        defaultSize: offer && [offer.defaults.width, offer.defaults.height],
        snap: snapSizes
      })
      const translated = model === undefined ? translation : { ...translation, model }
      const { run, replayed, detach } = service.submit(translated, callerOf(request, request.headers, translated))
      whenDone(run, request, reply, detach)
      if (replayed) reply.header('idempotent-replayed', 'true')
      if (body.stream === true) {
        const piecesOf = streamPieces(run, partialImagesOf(body))
        return reply
          .type(EVENTS_TYPE)
          .headers(EVENT_HEADERS)
          .send(new EventStream(run, { after: 0, piecesOf }))
      }
      const finished = await run.finished
      return sendPieces(
        reply.headers(answerHeaders(run, finished, withRecipe)),
        JSON_TYPE,
        imagesResponse(run, finished, responseFormatOf(body))
      )
    }
  )

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
          ...failures('UNAUTHORIZED')
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
          ...failures('UNAUTHORIZED', 'MODEL_NOT_FOUND')
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
