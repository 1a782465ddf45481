import { randomBytes } from 'node:crypto'

/** A request's position in a distributed trace. */
export interface TraceContext {
  /** 32 hex digits. */
  readonly traceId: string
  /** 16 hex digits: the parent of the next span. */
  readonly spanId: string
  readonly sampled: boolean
}

const FORMAT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const NONE = /^0+$/

/**
 * Parses a `traceparent` header; undefined if it is missing or invalid.
 *
 * @see https://www.w3.org/TR/trace-context/#traceparent-header
 */
export function parseTraceparent(header: string | undefined): TraceContext | undefined {
  const [, version, traceId, spanId, flags, rest] = FORMAT.exec(header ?? '') ?? []
  if (traceId === undefined || spanId === undefined || version === 'ff') return undefined
  if (NONE.test(traceId) || NONE.test(spanId) || (version === '00' && rest !== undefined)) return undefined
  return { traceId, spanId, sampled: (Number.parseInt(flags!, 16) & 1) === 1 }
}

export function formatTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
}

/** The context of a new span: in its parent's trace, else in a new unsampled trace. */
export function childOf(parent: TraceContext | undefined): TraceContext {
  const spanId = randomBytes(8).toString('hex')
  return parent === undefined
    ? { traceId: randomBytes(16).toString('hex'), spanId, sampled: false }
    : { ...parent, spanId }
}
