import type { FastifyReply, FastifyRequest } from 'fastify'
import type { GenerateRequest } from '../schemas/generate.js'
import { fingerprintOf } from '../service/idempotency.js'
import type { Run } from '../service/run.js'
import type { Caller } from '../service/service.js'
import { formatTraceparent } from '../tracing/traceparent.js'

/** The headers of a request for images, as `GenerateHeaders` lets them through. */
interface CallerHeaders {
  'idempotency-key'?: string
  'x-request-timeout'?: string
}

/**
 * Who asks, as the service wants to know it.
 *
 * @param body what the request means; the same key with another picture is another request
 */
export function callerOf(request: FastifyRequest, headers: CallerHeaders, body: GenerateRequest): Caller {
  const { 'idempotency-key': key, 'x-request-timeout': timeout } = headers
  const scope = scopeOf(request)
  return {
    id: request.id,
    scope,
    key: key === undefined ? undefined : { scope, key, fingerprint: fingerprintOf(pictureOf(body)) },
    timeout: timeout === undefined ? undefined : Number(timeout) * 1000,
    trace: formatTraceparent(request.span.context),
    concurrency: request.access?.concurrentRequests
  }
}

/** What of a request decides its pictures: not how long the client waits, nor in which form the answer comes. */
function pictureOf({
  timeout: _timeout,
  preview_interval: _previews,
  truncate: _truncate,
  output_format = 'png',
  ...rest
}: GenerateRequest): object {
  return { ...rest, output_format }
}

/** Whose request it is: the name of its key, empty where no keys are asked for. */
export function scopeOf({ access }: FastifyRequest): string {
  return access?.name ?? ''
}

/** Calls `detach` once the client has its whole answer, or its connection is closed before. */
export function whenDone(run: Run, request: FastifyRequest, reply: FastifyReply, detach: () => void): void {
  if (!run.ended) run.finished.then(({ timings }) => request.span.stages(timings)).catch(() => undefined)
  const { socket } = request.raw
  // Of the answers that wait for their turn on a pipelined connection, only the first is told that it has closed.
  socket.setMaxListeners(Infinity)
  socket.once('close', detach)
  reply.raw.once('close', () => {
    socket.off('close', detach)
    detach()
  })
  if (socket.destroyed) detach()
}
