import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../errors.js'
import { commonHeaders, failures } from '../schemas/error.js'
import { RequestParams } from '../schemas/generate.js'
import type { ImageService } from '../service/service.js'
import { scopeOf } from './caller.js'

/** Requests in flight, by the x-request-id that their client gave them. */
export const requestRoutes: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  // It has no body: clients that name a type all the same, or send something, mean the same.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))

  app.delete(
    '/requests/:id',
    {
      schema: {
        tags: ['images'],
        operationId: 'cancelRequest',
        summary: 'Cancel a request',
        description: 'Its rows are free by the next step. Whoever waits for its answer gets 499 CANCELLED.',
        params: RequestParams,
        response: {
          204: Type.Null({ description: 'It is cancelled.', headers: commonHeaders }),
          ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND')
        }
      }
    },
    async (request, reply) => {
      const runs = service.find(scopeOf(request), request.params.id)
      if (runs.length === 0) throw new EaselError('NOT_FOUND', 'no request in flight has this id')
      for (const run of runs) run.cancel()
      return reply.code(204).send(null)
    }
  )
}
