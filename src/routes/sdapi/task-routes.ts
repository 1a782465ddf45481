import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { sdapiExamples } from '../../schemas/examples.js'
import { ref } from '../../schemas/ref.js'
import { SdapiProgress, SdapiProgressQuery, SdapiTaskQuery } from '../../schemas/sdapi.js'
import { success } from '../../schemas/success.js'
import { sdapiFailures } from './errors.js'
import { progressOf } from './progress.js'
import type { Tasks } from './tasks.js'
import { ignoreBodies } from '../without-body.js'

const failures = sdapiFailures('INVALID_REQUEST', 'UNAUTHORIZED')

/** GET /progress and POST /interrupt, for the caller's own requests. */
export const taskRoutes: FastifyPluginAsyncTypebox<{ tasks: Tasks }> = async (app, { tasks }) => {
  ignoreBodies(app)

  app.get(
    '/progress',
    {
      schema: {
        tags: ['automatic1111'],
        operationId: 'getProgress',
        summary: "Progress of the caller's request",
        description:
          'Of the request with this force_task_id, else of the oldest one of the access key. Without an access key only a force_task_id finds one.',
        querystring: SdapiProgressQuery,
        response: { 200: success(ref(SdapiProgress), 'The progress.', sdapiExamples.progress), ...failures }
      }
    },
    async (request) => {
      const { force_task_id, skip_current_image = 'false' } = request.query
      const [task] = tasks.of(request, force_task_id)
      return progressOf(task, /^(false|0)$/i.test(skip_current_image))
    }
  )

  app.post(
    '/interrupt',
    {
      schema: {
        tags: ['automatic1111'],
        operationId: 'interrupt',
        summary: "Stop the caller's requests",
        description:
          'Those with this force_task_id, else all of the access key that came through this API. Without an access key only a force_task_id finds one. Clients waiting for an answer get 499 CANCELLED.',
        querystring: SdapiTaskQuery,
        response: { 200: success(Type.Object({}), 'They are stopped, if there were any.', {}), ...failures }
      }
    },
    async (request) => {
      for (const { run } of tasks.of(request, request.query.force_task_id)) run.cancel()
      return {}
    }
  )
}
