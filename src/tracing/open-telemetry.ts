import {
  type Attributes,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags
} from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources'
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import type { RunTimings } from '../service/run.js'
import type { TraceContext } from './traceparent.js'
import type { RequestSpan, Tracing } from './tracing.js'

export interface OpenTelemetryOptions {
  /** Base URL of an OTLP/HTTP collector. */
  endpoint: string
  serviceName: string
  version: string
}

/** A run's stages in chronological order. */
const STAGES = ['queue', 'encode', 'denoise', 'decode', 'file'] as const

/**
 * Exports each request as a server span, and the stages of its run as child spans.
 *
 * The worker sends its stages' durations with the image, so it needs no exporter. The child spans are placed backwards
 * from the end of the run. Import this module only if an endpoint is set: loading the SDK is not free.
 */
export function openTelemetry({ endpoint, serviceName, version }: OpenTelemetryOptions): Tracing {
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/$/, '')}/v1/traces` })
  const provider = new TracerProvider({
    resource: defaultResource().merge(
      resourceFromAttributes({ 'service.name': serviceName, 'service.version': version })
    ),
    spanProcessors: [new BatchSpanProcessor({ exporter })]
  })
  const tracer = provider.getTracer('easel', version)

  const stages = (span: Span, timings: RunTimings) => {
    const within = trace.setSpan(ROOT_CONTEXT, span)
    let end = Date.now()
    for (const stage of STAGES.toReversed()) {
      const start = end - timings[`${stage}_ms`]
      tracer.startSpan(stage, { startTime: start }, within).end(end)
      end = start
    }
  }

  return {
    start(name, parent, attributes): RequestSpan {
      const span = tracer.startSpan(
        name,
        { kind: SpanKind.SERVER, attributes },
        parent === undefined ? ROOT_CONTEXT : remote(parent)
      )
      const { traceId, spanId, traceFlags } = span.spanContext()
      let ended = false
      return {
        context: { traceId, spanId, sampled: (traceFlags & TraceFlags.SAMPLED) !== 0 },
        stages: (timings) => stages(span, timings),
        end: (status, attributes: Attributes) => {
          if (ended) return
          ended = true
          span.setAttributes({ 'http.response.status_code': status, ...attributes })
          if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
          span.end()
        }
      }
    },
    close: () => provider.shutdown()
  }
}

function remote({ traceId, spanId, sampled }: TraceContext) {
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId,
    traceFlags: sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote: true
  })
}
