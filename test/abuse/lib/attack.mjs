// @ts-check
import { generate, SMALL } from './http.mjs'
import { startGateway } from './gateway.mjs'
import { BUDGET_MIB, GUARD_MIB, RECEIVE_TIMEOUT_S, SEND_TIMEOUT_S } from './limits.mjs'
import { giveWay, PRIORITY } from './priority.mjs'
import { Prober } from './prober.mjs'

/**
 * One line of the table.
 *
 * @typedef {object} Row
 * @property {string} attack
 * @property {string} limit with its unit
 * @property {string} found
 * @property {boolean | undefined} held undefined where the machine does not allow it to be shown
 * @property {boolean} [inTime] what a test on a busy machine does not judge; `npm run abuse` does
 *
 * What was seen of one gateway while it was attacked.
 *
 * @typedef {object} Watched
 * @property {string} name of the attack
 * @property {import('./prober.mjs').Probed} probed
 * @property {string | undefined} died how the gateway ended before it was told to
 * @property {number} workersLost workers that were lost and that no attack had killed
 *
 * @typedef {{ rows: Row[], watched: Watched[] }} Outcome
 *
 * @typedef {object} Under what an attack has to do with
 * @property {import('./gateway.mjs').Gateway} gateway
 * @property {Prober} prober
 * @property {number} restMib memory of the gateway before the attack
 */

/** Settings that make a run short, and that are the same for every attack. */
const SETTINGS = {
  MEMORY_BUDGET: String(BUDGET_MIB * 2 ** 20),
  SEND_TIMEOUT: String(SEND_TIMEOUT_S),
  RECEIVE_TIMEOUT: String(RECEIVE_TIMEOUT_S),
  PNG_COMPRESSION: '1'
}

/** Causes of a worker's loss that the gateway decides, or that end its process; by the others a worker leaves or comes back. */
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
 * Starts a gateway, attacks it while the prober asks it how it is, and ends it.
 *
 * @param {string} name
 * @param {import('./gateway.mjs').Start & { kills?: number, headers?: Record<string, string> }} start kills: workers that
 *   the attack ends itself; headers: those of an ordinary request
 * @param {(under: Under) => Promise<Row[]>} attack
 * @returns {Promise<Outcome>}
 */
export async function attacked(name, { kills = 0, headers = {}, ...start }, attack) {
  // In a group with a limit of memory, the gateway is to find its budget by itself.
  const { MEMORY_BUDGET, ...others } = SETTINGS
  const budget = start.memoryMib === undefined ? { MEMORY_BUDGET } : {}
  const gateway = await startGateway({ ...start, env: { ...others, ...budget, ...start.env } })
  try {
    // What it loads for its first image is no part of any attack.
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
    // What is started next starts as usual.
    giveWay(PRIORITY.usual)
  }
}

/**
 * A line for a number that has an upper limit.
 *
 * @param {string} attack
 * @param {{ found: number | undefined, limit: number, unit: string, note?: string | undefined }} measured found: undefined where no end was seen
 * @returns {Row}
 */
export function atMost(attack, { found, limit, unit, note }) {
  const shown = found === undefined ? 'no end seen' : `${amount(found)} ${unit}`
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
