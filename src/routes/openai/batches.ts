import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Batches } from '../../batches/batches.js'
import { EaselError } from '../../errors.js'
import { excerpt } from '../../excerpt.js'
import { GenerateHeaders, JOB_FAILURES, STORE_CODES } from '../../schemas/generate.js'
import {
  MOST_BATCHES,
  OpenAiBatch,
  OpenAiBatchList,
  OpenAiBatchQuery,
  OpenAiBatchRequest,
  OpenAiIdParams,
  USUAL_BATCHES
} from '../../schemas/openai-batch.js'
import { ref } from '../../schemas/ref.js'
import { success } from '../../schemas/success.js'
import { fingerprintOf } from '../../service/idempotency.js'
import { rightsOf, scopeOf } from '../caller.js'
import { batchObject } from './batch-object.js'
import { openAiFailures } from './errors.js'
import { listOf } from './list.js'
import { ignoreBodies } from '../without-body.js'

export interface BatchParts {
  batches: Batches
  /** What the lines of a batch may ask for. */
  batchEndpoint: string
}

const BatchParams = OpenAiIdParams('batch')

const example: OpenAiBatch = {
  id: 'batch_0f1e2d3c4b5a69788796a5b4',
  object: 'batch',
  endpoint: '/v1/images/generations',
  errors: null,
  input_file_id: 'file-5f3b0a1c9d8e7f6a5b4c3d2e',
  completion_window: '24h',
  status: 'in_progress',
  output_file_id: null,
  error_file_id: null,
  created_at: 1_769_850_000,
  in_progress_at: 1_769_850_002,
  expires_at: 1_769_936_400,
  finalizing_at: null,
  completed_at: null,
  failed_at: null,
  expired_at: null,
  cancelling_at: null,
  cancelled_at: null,
  request_counts: { total: 1000, completed: 230, failed: 1 },
  metadata: { job: 'nightly' }
}

/** /v1/batches: many requests in one file. */
export const openAiBatchRoutes: FastifyPluginAsyncTypebox<BatchParts> = async (app, { batches, batchEndpoint }) => {
  app.post(
    '/batches',
    {
      onRequest: app.countRequest,
      schema: {
        tags: ['openai'],
        operationId: 'createBatch',
        summary: 'Make the requests of a file',
        description: 'Each line is made as a durable job of the class batch (docs/batches.md).',
        headers: Type.Pick(GenerateHeaders, ['idempotency-key']),
        body: ref(OpenAiBatchRequest),
        response: {
          200: success(ref(OpenAiBatch), 'The batch.', { ...example, status: 'validating', in_progress_at: null }),
          ...openAiFailures(
            'INVALID_REQUEST',
            'LIMIT_EXCEEDED',
            'UNAUTHORIZED',
            'WEBHOOK_NOT_ALLOWED',
            'NOT_FOUND',
            'REQUEST_TIMEOUT',
            'BODY_TOO_LARGE',
            'UNSUPPORTED_MEDIA_TYPE',
            'IDEMPOTENCY_KEY_REUSED',
            'RATE_LIMITED',
            'DRAINING',
            'MEMORY_FULL',
            ...JOB_FAILURES
          )
        }
      }
    },
    async (request, reply) => {
      const { body } = request
      const { webhook, ...same } = body
      const { input_file_id: input, endpoint, completion_window: window, metadata = null } = same
      if (endpoint !== batchEndpoint) throw wrongEndpoint(endpoint, batchEndpoint)
      const { batch, fresh } = await batches.create(scopeOf(request), {
        input,
        endpoint,
        window,
        metadata,
        resultTtl: same.output_expires_after == null ? undefined : same.output_expires_after.seconds * 1000,
        webhook,
        key: request.headers['idempotency-key'],
        // As of jobs, it decides nothing of what is made.
        fingerprint: fingerprintOf(same),
        caller: rightsOf(request)
      })
      if (!fresh) reply.header('idempotent-replayed', 'true')
      return batchObject(batch)
    }
  )

  app.get(
    '/batches',
    {
      schema: {
        tags: ['openai'],
        operationId: 'listBatches',
        summary: 'List your batches',
        querystring: OpenAiBatchQuery,
        response: {
          200: success(ref(OpenAiBatchList), 'The batches, the newest first.', listOf([example], false)),
          ...openAiFailures('INVALID_REQUEST', 'UNAUTHORIZED', ...STORE_CODES)
        }
      }
    },
    async (request) => {
      const { after, limit = USUAL_BATCHES } = request.query
      const { batches: found, more } = await batches.list(
        scopeOf(request),
        after,
        Math.min(Number(limit), MOST_BATCHES)
      )
      return listOf(found.map(batchObject), more)
    }
  )

  app.get(
    '/batches/:id',
    {
      schema: {
        tags: ['openai'],
        operationId: 'retrieveBatch',
        summary: 'Get a batch',
        params: BatchParams,
        response: {
          200: success(ref(OpenAiBatch), 'The batch.', example),
          ...openAiFailures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND', ...STORE_CODES)
        }
      }
    },
    async (request) => batchObject(await batches.get(scopeOf(request), request.params.id))
  )

  await app.register(async (scope) => {
    ignoreBodies(scope)
    scope.post(
      '/batches/:id/cancel',
      {
        schema: {
          tags: ['openai'],
          operationId: 'cancelBatch',
          summary: 'Cancel a batch',
          description: 'Lines that have not ended are cancelled; what was made can be read.',
          params: BatchParams,
          response: {
            200: success(ref(OpenAiBatch), 'The batch.', {
              ...example,
              status: 'cancelling',
              cancelling_at: 1_769_850_100
            }),
            ...openAiFailures('INVALID_REQUEST', 'UNAUTHORIZED', 'NOT_FOUND', ...STORE_CODES)
          }
        }
      },
      async (request) => {
        const { id } = request.params as { id: string }
        return batchObject(await batches.cancel(scopeOf(request), id))
      }
    )
  })
}

function wrongEndpoint(endpoint: string, only: string): EaselError {
  const why =
    endpoint === '/v1/images/edits'
      ? 'lines with pictures are not taken yet, so send edits one by one'
      : `the lines of a batch here ask for ${only}`
  return new EaselError(
    'INVALID_REQUEST',
    `endpoint must be ${only}, not ${JSON.stringify(excerpt(endpoint))}: ${why}`,
    { field: 'endpoint' }
  )
}
