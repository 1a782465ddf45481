import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { failures } from '../schemas/error.js'
import { tokenizeExample } from '../schemas/examples.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import { TokenizeRequest, TokenizeResponse } from '../schemas/tokenize.js'
import type { ImageService } from '../service/service.js'

/** POST /tokenize counts the tokens of prompts while somebody writes them. It needs no worker and makes no image. */
export const tokenizeRoute: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  app.post(
    '/tokenize',
    {
      schema: {
        tags: ['images'],
        operationId: 'tokenize',
        summary: 'Count the tokens of prompts',
        description:
          'Counts the tokens and chunks of prompts, and says where they would be cut, without making an image. Does not count towards the requests per minute of a key.',
        body: ref(TokenizeRequest),
        response: {
          200: success(ref(TokenizeResponse), 'A count for each prompt that was sent.', tokenizeExample),
          ...failures(
            'INVALID_REQUEST',
            'UNAUTHORIZED',
            'MODEL_NOT_FOUND',
            'REQUEST_TIMEOUT',
            'BODY_TOO_LARGE',
            'UNSUPPORTED_MEDIA_TYPE',
            'EXPECTATION_FAILED',
            'HEADERS_TOO_LARGE',
            'MEMORY_FULL'
          )
        }
      }
    },
    async (request) => service.countTokens(request.body)
  )
}
