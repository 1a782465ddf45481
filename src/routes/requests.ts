import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../errors.js'
import { ErrorResponse } from '../schemas/error.js'
import type { ImageService } from '../service/service.js'

const Params = Type.Object({ id: Type.String({ minLength: 1, maxLength: 128, description: 'The x-request-id of a request in flight.' }) })

/** Requests in flight, by the x-request-id that their client gave them. */
export const requestRoutes: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  app.delete(
    '/requests/:id',
    {
      schema: {
        summary: 'Cancel a request',
        description: 'Its rows are free by the next step. Whoever waits for its answer gets 499 CANCELLED.',
        params: Params,
        response: { 204: Type.Null({ description: 'It is cancelled.' }), '4xx': ErrorResponse }
      }
    },
    async (request, reply) => {
      const runs = service.find('', request.params.id)
      if (runs.length === 0) throw new EaselError('NOT_FOUND', 'no request in flight has this id')
      for (const run of runs) run.cancel()
      return reply.code(204).send(null)
    }
  )
}
