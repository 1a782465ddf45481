import type { RequestKey } from './idempotency.js'

/** The caller of a request, and what its headers and key say. */
export interface Caller {
  /** The request's name, by which its client can cancel it. */
  id: string
  /** The caller's namespace: equal names in different scopes are different requests. */
  scope: string
  key?: RequestKey | undefined
  /** ms that the client will wait, in addition to the body's `timeout`; the smaller counts */
  timeout?: number | undefined
  /** The client's traceparent. */
  trace?: string | undefined
  /** Limit on the scope's requests in flight; undefined for none. */
  concurrency?: number | undefined
  /** How much of the chips the scope gets beside others; 1 by default. */
  weight?: number | undefined
  /** Whether the scope may send batch requests only. */
  batchOnly?: boolean | undefined
}
