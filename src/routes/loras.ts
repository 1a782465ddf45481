import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { failures } from '../schemas/error.js'
import { loraExample } from '../schemas/examples.js'
import { LoraInfo } from '../schemas/loras.js'
import { ModelQuery } from '../schemas/model-query.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import type { ImageService } from '../service/service.js'

/** GET /loras: the LoRAs that requests may name. */
export const lorasRoute: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  app.get(
    '/loras',
    {
      schema: {
        tags: ['images'],
        operationId: 'listLoras',
        summary: 'List the LoRAs',
        description:
          "The LoRAs in the operator's folder that fit the model, by name. Empty if there is no folder. The list follows the folder while the server runs.",
        querystring: ModelQuery,
        response: {
          200: success(Type.Object({ loras: Type.Array(ref(LoraInfo)) }), 'By name.', { loras: [loraExample] }),
          ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'MODEL_NOT_FOUND')
        }
      }
    },
    async (request) => ({ loras: [...service.lorasOf(request.query.model)] })
  )
}
