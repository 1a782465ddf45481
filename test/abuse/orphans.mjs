// @ts-check
// Attack 5: kill the gateway; its worker must not outlive it.
import { setTimeout as sleep } from 'node:timers/promises'
import { amount } from './lib/attack.mjs'
import { startGateway } from './lib/gateway.mjs'
import { generate, SMALL } from './lib/http.mjs'
import { ORPHAN_MS } from './lib/limits.mjs'
import { lives, signal, waitFor } from './lib/proc.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {import('./lib/attack.mjs').Outcome} Outcome */

/** Longer than a worker waits for its gateway's pings before it reconnects and logs that, in ms. */
const STOPPED_MS = 12_000
/** How long an orphan is watched, in ms. */
const WATCH_MS = 30_000

/** @param {{ short?: boolean }} [options] @returns {Promise<Outcome[]>} */
export async function orphanAttacks({ short = false } = {}) {
  // Run all at the same time, because they mostly wait.
  const rows = await Promise.all([
    killed('idle', { most: short ? 5000 : WATCH_MS }),
    killed('while it makes images', { busy: true, most: short ? 5000 : WATCH_MS }),
    ...(short ? [] : [killed(`after ${STOPPED_MS / 1000} s of SIGSTOP`, { stopped: STOPPED_MS, most: WATCH_MS })])
  ])
  return [{ rows, watched: [] }]
}

/**
 * @param {string} how
 * @param {{ most: number, busy?: boolean, stopped?: number }} options most: how long the worker is watched, in ms; stopped: how long the gateway is stopped before the kill, in ms
 * @returns {Promise<Row>}
 */
async function killed(how, { most, busy = false, stopped = 0 }) {
  const gateway = await startGateway({ fake: '--sizes 64x64 --fake-step-ms 20', env: { LOG_LEVEL: 'debug' } })
  try {
    const workers = gateway.workers()
    await generate(gateway.url, SMALL)
    if (busy) {
      void generate(gateway.url, { ...SMALL, num_inference_steps: 1000 }, { most })
      await sleep(500)
    }
    if (stopped > 0) {
      signal(gateway.pid, 'SIGSTOP')
      await sleep(stopped)
    }
    signal(gateway.pid, 'SIGKILL')
    const ms = await waitFor(() => !workers.some(lives), most)
    return {
      attack: `kill -9 of the gateway ${how}: its worker outlives it by`,
      limit: `≤ ${amount(ORPHAN_MS)} ms`,
      found: ms === undefined ? `more than ${amount(most)} ms` : `${amount(ms)} ms`,
      held: workers.length === 1 && ms !== undefined,
      inTime: ms !== undefined && ms <= ORPHAN_MS
    }
  } finally {
    await gateway.stop()
  }
}
