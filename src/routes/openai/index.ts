import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError, type ErrorCode } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import { answerErrors } from '../../plugins/errors.js'
import { commonHeaders, failuresAs } from '../../schemas/error.js'
import { openAiExample } from '../../schemas/examples.js'
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
import { partialImagesOf, responseFormatOf, translate } from './translate.js'

interface OpenAiParts {
  service: ImageService
  /** Whether answers carry the recipe with its prompts. */
  withRecipe: boolean
  /** Whether a size that is not offered is taken for the nearest one. */
  snapSizes: boolean
}

const EVENTS = '`image_generation.partial_image` and `image_generation.completed`, as that API has them.'
const Events = { schema: eventsSchema(EVENTS) }

const failures = (...codes: readonly ErrorCode[]) => failuresAs(openAiErrorForm, codes)

/** Under /v1: the part of the OpenAI API that is about making images, for clients that are written for it. */
export const openAiRoutes: FastifyPluginAsyncTypebox<OpenAiParts> = async (app, { service, withRecipe, snapSizes }) => {
  answerErrors(app, openAiError)

  app.post(
    '/images/generations',
    {
      onRequest: app.countRequest,
      schema: {
        tags: ['openai'],
        operationId: 'createImage',
        summary: 'Make images, as the OpenAI Images API',
        description: `What official clients send, and SDXL's own fields beside it: ${EXTRAS.map(({ name }) => name).join(', ')}.`,
        headers: GenerateHeaders,
        body: ref(OpenAiImagesRequest),
        response: {
          200: {
            description: 'The images, or with `stream` the events of their making.',
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
      const { offer } = service
      const translated = translate(body, {
        steps: offer?.defaults.num_inference_steps ?? 1,
        snapTo: snapSizes ? (offer?.sizes ?? []) : []
      })
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
  const example = { id: 'stable-diffusion-xl-base-1.0', object: 'model', created: 0, owned_by: 'easel' } as const
  const models = () => (service.offer === undefined ? [] : [{ ...example, id: service.offer.model.id }])

  app.get(
    '/models',
    {
      schema: {
        tags: ['openai'],
        operationId: 'listModels',
        summary: 'The model that is served',
        response: {
          200: success(List, 'A list of one, or of none while no worker was ready.', {
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
        summary: 'One model',
        params: Type.Object({ model: Type.String({ description: 'Its id, as GET /v1/models has it.' }) }),
        response: { 200: success(ref(OpenAiModel), 'The model.', example), ...failures('UNAUTHORIZED', 'NOT_FOUND') }
      }
    },
    async (request) => {
      const found = models().find(({ id }) => id === request.params.model)
      if (found === undefined)
        throw new EaselError('NOT_FOUND', `there is no model ${JSON.stringify(excerpt(request.params.model))}`, {
          field: 'model'
        })
      return found
    }
  )
}
