// @ts-check
import { setTimeout as sleep } from 'node:timers/promises'

/** A worker that is stopped for so long is not taken for dead yet. In ms. */
const HICCUP_MS = 300

/**
 * What can happen to a worker.
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
 * Does something bad to a worker, again and again, until it is told to stop.
 *
 * @param {{ workers: () => number[], everyMs: number, most: number, random: () => number, signal: AbortSignal }} options most: how many faults there are at most
 * @returns {Promise<Record<string, number>>} how often each happened
 */
export async function haunt({ workers, everyMs, most, random, signal: stop }) {
  const kinds = Object.keys(FAULTS)
  /** @type {Record<string, number>} */
  const done = Object.fromEntries(kinds.map((kind) => [kind, 0]))
  for (let count = 0; count < most; count++) {
    await sleep(everyMs * (0.5 + random()), undefined, { signal: stop }).catch(() => undefined)
    const pids = workers()
    // In turns, so that a short run has each of them.
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
    // It has gone in the meantime.
  }
}
