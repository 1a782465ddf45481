import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Registry } from 'prom-client'
import { Type } from 'typebox'
import { commonHeaders, failures } from '../schemas/error.js'

/** GET /metrics/picker: the few metrics that an endpoint picker reads, in the names that it reads. */
export const pickerMetricsRoute: FastifyPluginAsyncTypebox<{ registry: Registry }> = async (app, { registry }) => {
  app.get('/metrics/picker', { config: { atOnce: true }, schema: { hide: true } }, async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics())
  )
}

/** GET /metrics in Prometheus' text format. */
export const metricsRoute: FastifyPluginAsyncTypebox<{ registry: Registry }> = async (app, { registry }) => {
  app.get(
    '/metrics',
    {
      schema: {
        tags: ['operations'],
        operationId: 'getMetrics',
        summary: 'Metrics for Prometheus',
        response: {
          200: {
            description: 'The metrics listed in docs/metrics.md.',
            headers: commonHeaders,
            content: { 'text/plain': { schema: Type.String(), example: 'easel_requests_in_flight 0\n' } }
          },
          ...failures()
        }
      }
    },
    async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics())
  )
}
