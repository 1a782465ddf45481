import { EaselError } from '../errors.js'
import { isEnd, type JobName, type JobState, type JobStore } from './store.js'

/** ms after which a follower looks again, should the store have said nothing of a change. */
const LOOK_MS = 5000
/** Looks without news between two signs of life. */
const SILENT_LOOKS = 3

/**
 * Follows a job: yields its state now, if it has changed since `after`, and after each change, until it has ended or is
 * gone. Whoever takes states slowly misses those that newer ones have superseded. Yields undefined now and then as a sign
 * of life, also while the store does not answer.
 *
 * @param after the revision that the follower has seen
 * @param left fires when the follower has left
 */
export async function* follow(
  store: JobStore,
  name: JobName,
  after: number,
  left: AbortSignal
): AsyncGenerator<JobState | undefined> {
  let [last, silent] = [after, 0]
  while (!left.aborted) {
    const change = nextChange(store, name, left)
    try {
      const state = await looked(store, name)
      if (state === 'unknown') silent += 1
      else if (state === undefined) return
      else {
        if (state.revision > last) {
          last = state.revision
          silent = 0
          yield state
        }
        if (isEnd(state.status)) return
      }
      if (await change.happens) continue
      if (++silent < SILENT_LOOKS) continue
      silent = 0
      yield undefined
    } finally {
      change.forget()
    }
  }
}

async function looked(store: JobStore, name: JobName): Promise<JobState | undefined | 'unknown'> {
  try {
    return await store.find(name)
  } catch (error) {
    if (error instanceof EaselError && error.code === 'JOB_STORE_UNAVAILABLE') return 'unknown'
    throw error
  }
}

/** Settles with true at the job's next change, and with false after LOOK_MS or when the follower has left. */
function nextChange(store: JobStore, name: JobName, left: AbortSignal) {
  let settle!: (changed: boolean) => void
  const happens = new Promise<boolean>((resolve) => (settle = resolve))
  const timer = setTimeout(() => settle(false), LOOK_MS)
  const leave = () => settle(false)
  left.addEventListener('abort', leave, { once: true })
  const unwatch = store.onChange((changed) => {
    if (changed === undefined || (changed.id === name.id && changed.scope === name.scope)) settle(true)
  })
  const forget = () => {
    clearTimeout(timer)
    left.removeEventListener('abort', leave)
    unwatch()
  }
  return { happens, forget }
}
