import type { Hello, Malformation } from './protocol.js'
import type { Handover } from './saved-states.js'

/** Receives the pool's events, e.g. for metrics. Keeps the pool independent of a metrics library. */
export interface PoolObserver {
  /** A worker started a request this many seconds after it was submitted. */
  queueWait: (seconds: number) => void
  /** A worker finished a denoising step. */
  step: (worker: string, seconds: number) => void
  /** A worker's HELLO was accepted. */
  hello: (worker: string, hello: Hello) => void
  /** A request was sent to a worker for the second time or more. */
  replay: () => void
  /** The story of an unfinished image's state, which a worker gave back, has ended. */
  handover: (how: Handover) => void
  /** A worker's connection ended. */
  workerLost: (worker: string, cause: LossCause) => void
  /** A model took over the device that it shares, and was ready after this many seconds. */
  swap: (model: string, seconds: number) => void
  /** A worker process was restarted. */
  restart: (worker: string) => void
  /** A message was dropped. */
  malformed: (reason: Malformation | 'unknown_peer') => void
  /** A connection to the worker socket did not become one of a worker. */
  peerRefused: (reason: RefusedPeer) => void
}

/**
 * Why: its `key` is no worker's, it does not speak the `protocol` (no encryption where keys are needed, or another
 * gateway's key), or its `handshake` broke off or took too long. A worker's `name` is another's, or not one for its key.
 */
export type RefusedPeer = RefusedConnection | 'name'
export type RefusedConnection = 'key' | 'protocol' | 'handshake'

export type LossCause = 'exited' | 'silent' | 'hung' | 'unreachable' | 'replaced' | 'left' | 'session'
