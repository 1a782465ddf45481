import fp from 'fastify-plugin'
import { excerpt } from '../excerpt.js'
import { parseTraceparent } from '../tracing/traceparent.js'
import type { RequestSpan, Tracing } from '../tracing/tracing.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The request's span. */
    span: RequestSpan
  }
}

/** nginx's status for a request whose client disconnected. */
const LEFT = 499

/** Maximum characters of a path in a span. */
const PATH_LENGTH = 256

/** Gives every request of the scope a span in its client's trace, and adds the trace's id to its log lines. */
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
      // Also fires when the client disconnects before its answer.
      reply.raw.once('close', () => {
        const status = reply.raw.writableFinished ? reply.statusCode : LEFT
        request.span.end(status, request.access === null ? {} : { 'easel.key': request.access.name })
      })
    })
  },
  { name: 'tracing' }
)
