import type { Hello, Malformation } from './protocol.js'

/** What the engine tells whoever measures it. The engine itself knows no metrics library. */
export interface EngineObserver {
  /** A request left the queue for a worker after so many seconds. */
  queueWait: (seconds: number) => void
  /** A worker finished a denoising step. */
  step: (worker: string, seconds: number) => void
  /** A worker said what it is and compiled. */
  hello: (worker: string, hello: Hello) => void
  /** A request was given to a worker again after a death. */
  replay: () => void
  /** A worker died or hung; `cause` is one word. */
  workerLost: (worker: string, cause: LossCause) => void
  /** A worker process was started again. */
  restart: (worker: string) => void
  /** A message was dropped. */
  malformed: (reason: Malformation | 'unknown_peer') => void
}

export type LossCause = 'exited' | 'silent' | 'hung' | 'unreachable' | 'replaced' | 'left' | 'session'
