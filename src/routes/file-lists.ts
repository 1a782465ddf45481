import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type TSchema, Type } from 'typebox'
import { ControlInfo, IpAdapterInfo } from '../schemas/controls.js'
import { EmbeddingInfo } from '../schemas/embeddings.js'
import { failures } from '../schemas/error.js'
import { controlExample, embeddingExample, ipAdapterExample, loraExample } from '../schemas/examples.js'
import { LoraInfo } from '../schemas/loras.js'
import { ModelQuery } from '../schemas/model-query.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import type { ImageService } from '../service/service.js'

/** A list of the files in a folder of the operator's. */
interface FileList {
  readonly path: string
  readonly operationId: string
  readonly what: string
  /** The answer's field. */
  readonly field: string
  readonly file: TSchema
  readonly example: object
  /** Whether the list follows the folder, which is else read when a worker starts. */
  readonly follows: boolean
  readonly list: (model: string | undefined) => readonly object[]
}

function listsOf(service: ImageService): readonly FileList[] {
  return [
    {
      path: '/loras',
      operationId: 'listLoras',
      what: 'LoRAs',
      field: 'loras',
      file: ref(LoraInfo),
      example: loraExample,
      follows: true,
      list: (model) => service.lorasOf(model)
    },
    {
      path: '/embeddings',
      operationId: 'listEmbeddings',
      what: 'embeddings (textual inversions)',
      field: 'embeddings',
      file: ref(EmbeddingInfo),
      example: embeddingExample,
      follows: true,
      list: (model) => service.embeddingsOf(model)
    },
    {
      path: '/controls',
      operationId: 'listControls',
      what: 'ControlNets and T2I-Adapters',
      field: 'controls',
      file: ref(ControlInfo),
      example: controlExample,
      follows: false,
      list: (model) => service.controlsOf(model)
    },
    {
      path: '/ip-adapters',
      operationId: 'listIpAdapters',
      what: 'IP-Adapters',
      field: 'ip_adapters',
      file: ref(IpAdapterInfo),
      example: ipAdapterExample,
      follows: false,
      list: (model) => service.ipAdaptersOf(model)
    }
  ]
}

/** GET /loras, /embeddings, /controls and /ip-adapters: the files that requests may name. */
export const fileListRoutes: FastifyPluginAsyncTypebox<{ service: ImageService }> = async (app, { service }) => {
  for (const { path, operationId, what, field, file, example, follows, list } of listsOf(service)) {
    const time = follows
      ? 'The list follows the folder while the server runs.'
      : 'The folder is read when a worker starts.'
    app.get(
      path,
      {
        schema: {
          tags: ['images'],
          operationId,
          summary: `List the ${what}`,
          description: `The ${what} in the operator's folder that fit the model, by name. Empty if there is no folder. ${time}`,
          querystring: ModelQuery,
          response: {
            200: success(Type.Object({ [field]: Type.Array(file) }), 'By name.', { [field]: [example] }),
            ...failures('INVALID_REQUEST', 'UNAUTHORIZED', 'MODEL_NOT_FOUND')
          }
        }
      },
      async (request) => ({ [field]: [...list(request.query.model)] })
    )
  }
}
