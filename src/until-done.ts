import { setTimeout as sleep } from 'node:timers/promises'

export interface Patience {
  /** ms before the next attempt. */
  pause: number
  /** Ends the pause. */
  stop: AbortSignal
  /** Looks at why an attempt failed. Throws to give up. */
  failed: (error: unknown) => void
}

/** Repeats what cannot be done now. @throws what `failed` throws */
export async function untilDone<T>(act: () => Promise<T>, { pause, stop, failed }: Patience): Promise<T> {
  for (;;) {
    try {
      return await act()
    } catch (error) {
      failed(error)
    }
    await sleep(pause, undefined, { signal: stop }).catch(() => undefined)
  }
}
