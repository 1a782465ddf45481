import type { Health } from '../api/types.js'

/** A server counts whole seconds, and an answer takes a moment. */
const JITTER_MS = 5000

/** Since when the server has been as it is: by its own word while it starts, else as far as this page knows. */
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
