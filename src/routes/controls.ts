import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { ControlInfo, IpAdapterInfo } from '../schemas/controls.js'
import { failures } from '../schemas/error.js'
import { controlExample, ipAdapterExample } from '../schemas/examples.js'
import { ModelQuery } from '../schemas/model-query.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import type { ImageService } from '../service/service.js'

const FOLDER =
  "in the operator's folder that fit the model, by name. Empty if there is no folder. It is read when a worker starts."

const refusals = failures('INVALID_REQUEST', 'UNAUTHORIZED', 'MODEL_NOT_FOUND')

/** GET /controls and GET /ip-adapters: what requests may name to follow a picture, or to have one as a prompt. */
export const controlRoutes: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  app.get(
    '/controls',
    {
      schema: {
        tags: ['images'],
        operationId: 'listControls',
        summary: 'List the ControlNets and T2I-Adapters',
        description: `Those ${FOLDER}`,
        querystring: ModelQuery,
        response: {
          200: success(Type.Object({ controls: Type.Array(ref(ControlInfo)) }), 'By name.', {
            controls: [controlExample]
          }),
          ...refusals
        }
      }
    },
    async (request) => ({ controls: [...service.controlsOf(request.query.model)] })
  )

  app.get(
    '/ip-adapters',
    {
      schema: {
        tags: ['images'],
        operationId: 'listIpAdapters',
        summary: 'List the IP-Adapters',
        description: `Those ${FOLDER}`,
        querystring: ModelQuery,
        response: {
          200: success(Type.Object({ ip_adapters: Type.Array(ref(IpAdapterInfo)) }), 'By name.', {
            ip_adapters: [ipAdapterExample]
          }),
          ...refusals
        }
      }
    },
    async (request) => ({ ip_adapters: [...service.ipAdaptersOf(request.query.model)] })
  )
}
