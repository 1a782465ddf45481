import type { Health } from '../api/types.js'

/** Tolerance: the server reports whole seconds, and answers are delayed. */
const JITTER_MS = 5000

/** When the server entered its status: computed from its uptime while it starts, else when this page first saw it. */
export class Since {
  #status: Health['status'] | undefined
  #at = 0

  /** @param now ms since 1970 @returns ms since 1970 */
  note({ status, uptime_seconds: uptime }: Pick<Health, 'status' | 'uptime_seconds'>, now: number): number {
    const at = status === 'starting' ? now - uptime * 1000 : now
    const same = status === this.#status && (status !== 'starting' || Math.abs(at - this.#at) < JITTER_MS)
    if (!same) this.#at = at
    this.#status = status
    return this.#at
  }
}
