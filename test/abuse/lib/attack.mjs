// @ts-check
import { generate, SMALL } from './http.mjs'
import { startGateway } from './gateway.mjs'
import { BUDGET_MIB, GUARD_MIB, RECEIVE_TIMEOUT_S, SEND_TIMEOUT_S } from './limits.mjs'
import { giveWay, PRIORITY } from './priority.mjs'
import { Prober } from './prober.mjs'

/**
 * A row of the table.
 *
 * @typedef {object} Row
 * @property {string} attack
 * @property {string} limit with its unit
 * @property {string} found
 * @property {boolean | undefined} held undefined if it cannot be measured on this machine
 * @property {boolean} [inTime] a limit on time, which `npm run abuse` judges and a test on a busy machine does not
 *
 * The observations of one gateway during an attack.
 *
 * @typedef {object} Watched
 * @property {string} name of the attack
 * @property {import('./prober.mjs').Probed} probed
 * @property {string | undefined} died how the gateway ended prematurely
 * @property {number} workersLost lost workers that the attack did not kill
 *
 * @typedef {{ rows: Row[], watched: Watched[] }} Outcome
 *
 * @typedef {object} Under an attack's target
 * @property {import('./gateway.mjs').Gateway} gateway
 * @property {Prober} prober
 * @property {number} restMib memory of the gateway before the attack
 */

/** Settings of every attack that make a run short. */
const SETTINGS = {
  MEMORY_BUDGET: String(BUDGET_MIB * 2 ** 20),
  SEND_TIMEOUT: String(SEND_TIMEOUT_S),
  RECEIVE_TIMEOUT: String(RECEIVE_TIMEOUT_S),
  PNG_COMPRESSION: '1'
}

/** Causes of a worker's loss that the gateway decides or that end its process. With the others the worker leaves or returns. */
const TAKEN_FOR_DEAD = ['silent', 'hung', 'exited']

/**
 * @param {import('../../support/metrics.mjs').Samples} samples
 * @param {string} cause
 */
function lostTo(samples, cause) {
  return [...samples].reduce(
    (sum, [key, value]) =>
      key.startsWith('easel_workers_lost_total{') && key.includes(`cause="${cause}"`) ? sum + value : sum,
    0
  )
}

/**
 * Starts a gateway, attacks it while the prober requests its health, and ends it.
 *
 * @param {string} name
 * @param {import('./gateway.mjs').Start & { kills?: number, headers?: Record<string, string> }} start kills: workers that
 *   the attack itself ends; headers: those of an ordinary request
 * @param {(under: Under) => Promise<Row[]>} attack
 * @returns {Promise<Outcome>}
 */
export async function attacked(name, { kills = 0, headers = {}, ...start }, attack) {
  // In a cgroup with a memory limit, the gateway must determine its budget itself.
  const { MEMORY_BUDGET, ...others } = SETTINGS
  const budget = start.memoryMib === undefined ? { MEMORY_BUDGET } : {}
  const gateway = await startGateway({ ...start, env: { ...others, ...budget, ...start.env } })
  try {
    // Exclude what it loads for its first image from the attack.
    await generate(gateway.url, SMALL, { headers })
    const prober = new Prober({ url: gateway.url, adminUrl: gateway.adminUrl, pid: gateway.pid, guardMib: GUARD_MIB })
    const { rows, probed } = await probedWhile(prober, () => attack({ gateway, prober, restMib: gateway.rss() }))
    const died = gateway.ended() ? `it ended with ${gateway.status()}` : undefined
    const workersLost = Math.max(0, TAKEN_FOR_DEAD.reduce((sum, cause) => sum + lostTo(probed.last, cause), 0) - kills)
    return {
      rows,
      watched: [{ name, probed, died: probed.guarded ? `it took more than ${GUARD_MIB} MiB` : died, workersLost }]
    }
  } finally {
    await gateway.stop()
  }
}

/**
 * @param {Prober} prober
 * @param {() => Promise<Row[]>} attack
 */
async function probedWhile(prober, attack) {
  try {
    await prober.asks
    giveWay(PRIORITY.attacker)
    return { rows: await attack(), probed: await prober.stop() }
  } catch (error) {
    await prober.stop()
    throw error
  } finally {
    // Reset the priority for processes that start next.
    giveWay(PRIORITY.usual)
  }
}

/**
 * Makes a row for a number with an upper limit.
 *
 * @param {string} attack
 * @param {{ found: number | undefined, limit: number, unit: string, note?: string | undefined }} measured found: undefined if no end was observed
 * @returns {Row}
 */
export function atMost(attack, { found, limit, unit, note }) {
  const shown = found === undefined ? 'did not end' : `${amount(found)} ${unit}`
  return {
    attack,
    limit: `≤ ${amount(limit)} ${unit}`,
    found: note === undefined ? shown : `${shown} (${note})`,
    held: found !== undefined && found <= limit
  }
}

/** @param {number} number */
export function amount(number) {
  return number.toLocaleString('en-US', { maximumFractionDigits: Math.abs(number) < 10 ? 1 : 0 })
}
