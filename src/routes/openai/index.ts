import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import { answerErrors } from '../../plugins/errors.js'
import { healthExample } from '../../schemas/examples.js'
import { OpenAiModel } from '../../schemas/openai.js'
import { ref } from '../../schemas/ref.js'
import { success } from '../../schemas/success.js'
import { type BatchParts, openAiBatchRoutes } from './batches.js'
import { openAiEditRoutes } from './edits.js'
import { openAiError, openAiFailures } from './errors.js'
import { type FileParts, openAiFileRoutes } from './files.js'
import { openAiGenerationRoute } from './generations.js'
import type { PictureParts } from './respond.js'

/** The image generation part of the OpenAI API, under /v1. */
export const openAiRoutes: FastifyPluginAsyncTypebox<PictureParts & FileParts & BatchParts> = async (app, parts) => {
  const { service } = parts
  answerErrors(app, openAiError)

  await app.register(openAiGenerationRoute, { ...parts, prefix: '' })
  await app.register(openAiEditRoutes, { ...parts, prefix: '' })
  await app.register(openAiFileRoutes, { ...parts, prefix: '' })
  await app.register(openAiBatchRoutes, { ...parts, prefix: '' })

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
