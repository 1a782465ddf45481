import type { LeftImage, Unfinished } from '../workers/saved-states.js'

export type { LeftImage, Memory, Unfinished } from '../workers/saved-states.js'

/** How a request goes on where another gateway left it, and how this one leaves it. Only its first pass does. */
export interface Continuation {
  /** Images that are half done. Their memory is the run's once it is accepted. */
  readonly from: readonly Unfinished[]
  /** Takes those that are half done when the gateway leaves, before the run fails with DRAINING. */
  readonly to: (images: readonly LeftImage[]) => void
}
