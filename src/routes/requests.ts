import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { EaselError } from '../errors.js'
import type { SharedState } from '../jobs/shared.js'
import { commonHeaders, failures } from '../schemas/error.js'
import { RequestParams } from '../schemas/generate.js'
import type { ImageService } from '../service/service.js'
import { scopeOf } from './caller.js'
import { ignoreBodies } from './without-body.js'

interface RequestParts {
  service: ImageService
  /** What several gateways know together; undefined for one alone. */
  shared: SharedState | undefined
}

/** DELETE /requests/{id} cancels requests in flight by the x-request-id that their client sent. */
export const requestRoutes: FastifyPluginAsyncTypebox<RequestParts> = async (app, { service, shared }) => {
  const cancel = (scope: string, id: string): boolean => {
    const runs = service.find(scope, id)
    for (const run of runs) run.cancel()
    return runs.length > 0
  }
  shared?.onCancel(cancel)

  ignoreBodies(app)

  app.delete(
    '/requests/:id',
    {
      schema: {
        tags: ['images'],
        operationId: 'cancelRequest',
        summary: 'Cancel a request',
        description: 'Frees its batch rows by the next step. Clients waiting for its answer get 499 CANCELLED.',
        params: RequestParams,
        response: {
          204: Type.Null({ description: 'The request is cancelled.', headers: commonHeaders }),
          ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND')
        }
      }
    },
    async (request, reply) => {
      const { id } = request.params
      const scope = scopeOf(request)
      if (!cancel(scope, id) && !(await shared?.cancelElsewhere(scope, id)))
        throw new EaselError('NOT_FOUND', 'no request in flight has this x-request-id')
      return reply.code(204).send(null)
    }
  )
}
