import fp from 'fastify-plugin'
import { excerpt } from '../excerpt.js'
import { parseTraceparent } from '../tracing/traceparent.js'
import type { RequestSpan, Tracing } from '../tracing/tracing.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The request's place in its trace. */
    span: RequestSpan
  }
}

/** Status of a request whose client has left, as nginx has it. */
const LEFT = 499

/** Most characters of a path that a span holds. */
const PATH_LENGTH = 256

/** Gives every request of the scope a span in its client's trace, and its log lines the trace's id. */
export const tracingPlugin = fp<{ tracing: Tracing }>(
  async (app, { tracing }) => {
    app.decorateRequest('span')

    app.addHook('onRequest', async (request, reply) => {
      const { traceparent } = request.headers
      const route = request.routeOptions.url ?? ''
      request.span = tracing.start(
        `${request.method} ${route}`,
        parseTraceparent(typeof traceparent === 'string' ? traceparent : undefined),
        {
          'http.request.method': request.method,
          'http.route': route,
          'url.path': excerpt(request.url.split('?')[0]!, PATH_LENGTH),
          'easel.request_id': request.id
        }
      )
      const { traceId, spanId } = request.span.context
      request.log = request.log.child({ trace_id: traceId, span_id: spanId })
      // Also the end of a client that leaves before it is answered.
      reply.raw.once('close', () => {
        const status = reply.raw.writableFinished ? reply.statusCode : LEFT
        request.span.end(status, request.access === null ? {} : { 'easel.key': request.access.name })
      })
    })
  },
  { name: 'tracing' }
)
