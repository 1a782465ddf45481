// @ts-check
import { setTimeout as sleep } from 'node:timers/promises'

/** A worker that is stopped for this long is not considered dead yet, in ms. */
const HICCUP_MS = 300

/**
 * Faults of a worker.
 *
 * @type {Record<string, (pid: number) => Promise<void>>}
 */
const FAULTS = {
  killed: async (pid) => signal(pid, 'SIGKILL'),
  frozen: async (pid) => signal(pid, 'SIGSTOP'),
  hiccup: async (pid) => {
    signal(pid, 'SIGSTOP')
    await sleep(HICCUP_MS)
    signal(pid, 'SIGCONT')
  },
  restarted: async (pid) => signal(pid, 'SIGTERM')
}

/**
 * Injects faults into workers until `signal` aborts.
 *
 * @param {{ workers: () => number[], everyMs: number, most: number, random: () => number, signal: AbortSignal }} options most: the largest number of faults
 * @returns {Promise<Record<string, number>>} the number of faults of each kind
 */
export async function haunt({ workers, everyMs, most, random, signal: stop }) {
  const kinds = Object.keys(FAULTS)
  /** @type {Record<string, number>} */
  const done = Object.fromEntries(kinds.map((kind) => [kind, 0]))
  for (let count = 0; count < most; count++) {
    await sleep(everyMs * (0.5 + random()), undefined, { signal: stop }).catch(() => undefined)
    const pids = workers()
    // Alternate, so that a short run has faults of each kind.
    const kind = /** @type {string} */ (kinds[count % kinds.length])
    const pid = pids[Math.floor(random() * pids.length)]
    if (stop.aborted) break
    if (pid === undefined) continue
    await FAULTS[kind]?.(pid)
    done[kind] = (done[kind] ?? 0) + 1
  }
  return done
}

/**
 * @param {number} pid
 * @param {NodeJS.Signals} name
 */
function signal(pid, name) {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended in the meantime.
  }
}
