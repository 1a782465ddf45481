import type { RunTimings } from '../service/run.js'
import { childOf, type TraceContext } from './traceparent.js'

/** A request's span. */
export interface RequestSpan {
  readonly context: TraceContext
  /** The request was answered by a run that took these times and has just ended. */
  stages: (timings: RunTimings) => void
  /** Only the first call counts. */
  end: (status: number, attributes: Record<string, string | number>) => void
}

/** Records what happens to requests. */
export interface Tracing {
  start: (name: string, parent: TraceContext | undefined, attributes: Record<string, string | number>) => RequestSpan
  /** Sends what is not sent yet. */
  close: () => Promise<void>
}

/** Without an exporter: requests keep their place in the client's trace, and nothing is recorded. */
export const noTracing: Tracing = {
  start: (_name, parent) => ({ context: childOf(parent), stages: () => undefined, end: () => undefined }),
  close: () => Promise.resolve()
}
