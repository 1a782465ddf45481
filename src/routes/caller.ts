import type { FastifyReply, FastifyRequest } from 'fastify'
import type { GenerateRequest } from '../schemas/generate.js'
import { fingerprintOf } from '../service/idempotency.js'
import type { Run } from '../service/run.js'
import type { Caller } from '../service/caller.js'
import { formatTraceparent } from '../tracing/traceparent.js'

/** The image request headers that reach the service, already validated by `GenerateHeaders`. */
export interface CallerHeaders {
  'idempotency-key'?: string
  'x-request-timeout'?: string
}

/**
 * Describes the caller to the service.
 *
 * @param body the effective request: its fingerprint tells a retry from a key reused for other images
 */
export function callerOf(request: FastifyRequest, headers: CallerHeaders, body: GenerateRequest): Caller {
  const { 'idempotency-key': key, 'x-request-timeout': timeout } = headers
  const scope = scopeOf(request)
  return {
    id: request.id,
    scope,
    key: key === undefined ? undefined : { scope, key, fingerprint: fingerprintOfRequest(body) },
    timeout: timeout === undefined ? undefined : Number(timeout) * 1000,
    ...rightsOf(request)
  }
}

/** What the caller's access key says, and the trace that the request belongs to. */
export function rightsOf({
  access,
  span
}: FastifyRequest): Pick<Caller, 'weight' | 'batchOnly' | 'concurrency' | 'trace'> {
  return {
    weight: access?.weight,
    batchOnly: access?.batchOnly,
    concurrency: access?.concurrentRequests,
    trace: formatTraceparent(span.context)
  }
}

/** What requests for the same files have in common. */
export function fingerprintOfRequest(body: GenerateRequest): string {
  return fingerprintOf(pictureOf(body))
}

/** The fields that determine the files: not the timeout, the previews, the class, the webhook, or whether a long prompt is cut or refused. */
function pictureOf({
  timeout: _timeout,
  preview_interval: _previews,
  priority: _priority,
  webhook: _webhook,
  truncate: _truncate,
  output_format = 'png',
  ...rest
}: GenerateRequest): object {
  return { ...rest, output_format }
}

/** The name of the caller's access key; empty when the server requires no keys. */
export function scopeOf({ access }: FastifyRequest): string {
  return access?.name ?? ''
}

/** Calls `detach` when the reply has been sent or the connection closes, whichever comes first. */
export function whenDone(run: Run, request: FastifyRequest, reply: FastifyReply, detach: () => void): void {
  if (!run.ended) run.finished.then(({ timings }) => request.span.stages(timings)).catch(() => undefined)
  const { socket } = request.raw
  // On a pipelined connection only the first pending reply gets 'close', so listen on the socket too.
  socket.setMaxListeners(Infinity)
  socket.once('close', detach)
  reply.raw.once('close', () => {
    socket.off('close', detach)
    detach()
  })
  if (socket.destroyed) detach()
}
