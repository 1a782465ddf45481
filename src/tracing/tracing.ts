import type { RunTimings } from '../service/run.js'
import { childOf, type TraceContext } from './traceparent.js'

/** A request's span. */
export interface RequestSpan {
  readonly context: TraceContext
  /** Records the stages of the run that answered the request. Call when the run ends. */
  stages: (timings: RunTimings) => void
  /** Only the first call counts. */
  end: (status: number, attributes: Record<string, string | number>) => void
}

/** Records requests as spans. */
export interface Tracing {
  start: (name: string, parent: TraceContext | undefined, attributes: Record<string, string | number>) => RequestSpan
  /** Flushes pending spans. */
  close: () => Promise<void>
}

/** Tracing without an exporter: propagates the client's trace context but records nothing. */
export const noTracing: Tracing = {
  start: (_name, parent) => ({ context: childOf(parent), stages: () => undefined, end: () => undefined }),
  close: () => Promise.resolve()
}
