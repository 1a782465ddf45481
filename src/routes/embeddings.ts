import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EmbeddingInfo } from '../schemas/embeddings.js'
import { failures } from '../schemas/error.js'
import { embeddingExample } from '../schemas/examples.js'
import { ModelQuery } from '../schemas/model-query.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import type { ImageService } from '../service/service.js'

/** GET /embeddings: the embeddings that prompts may name. */
export const embeddingsRoute: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  app.get(
    '/embeddings',
    {
      schema: {
        tags: ['images'],
        operationId: 'listEmbeddings',
        summary: 'List the embeddings',
        description:
          "The embeddings (textual inversions) in the operator's folder that fit the model, by name. Empty if there is no folder. The list follows the folder while the server runs.",
        querystring: ModelQuery,
        response: {
          200: success(Type.Object({ embeddings: Type.Array(ref(EmbeddingInfo)) }), 'By name.', {
            embeddings: [embeddingExample]
          }),
          ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'MODEL_NOT_FOUND')
        }
      }
    },
    async (request) => ({ embeddings: [...service.embeddingsOf(request.query.model)] })
  )
}
