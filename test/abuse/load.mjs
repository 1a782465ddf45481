// @ts-check
// Attack 4, for comparison: well-behaved clients that request much, wait, and read the answers.
import { amount, attacked } from './lib/attack.mjs'
import { generate, refused, tally } from './lib/http.mjs'
import { GUARD_MIB, PEAK_MIB } from './lib/limits.mjs'
import { peakMib } from './lib/proc.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {import('./lib/http.mjs').Answer} Answer */

const EIGHT = { prompt: 'a lighthouse', num_inference_steps: 1, width: 1024, height: 1024, num_images: 8 }
const CLIENTS = 40
/** A client's timeout, in ms. */
const PATIENCE_MS = 100_000
/** Default PNG settings: pictures arrive faster than their files can be encoded. */
const COMPRESSION = '7'

/** @param {{ short?: boolean }} [options] */
export async function loadAttacks({ short = false } = {}) {
  if (short) return [await inMemory(undefined, 16)]
  return [await inMemory(1024, CLIENTS), await inMemory(512, CLIENTS)]
}

/**
 * @param {number | undefined} memoryMib the gateway's cgroup limit; undefined for none, with the budget of the other attacks
 * @param {number} clients
 */
function inMemory(memoryMib, clients) {
  const where = memoryMib === undefined ? '' : ` in ${amount(memoryMib)} MiB`
  return attacked(
    `well-behaved load${where}`,
    { ...(memoryMib === undefined ? {} : { memoryMib }), env: { PNG_COMPRESSION: COMPRESSION } },
    async ({ gateway }) => {
      const answers = await Promise.all(
        Array.from({ length: clients }, (_, index) => askForEight(gateway.url, 100 * index))
      )
      return [
        everyOne(`${clients} clients × 8 images of 1024², all reading${where}`, answers),
        memory(gateway, memoryMib, `${clients} clients × 8 images${where}`)
      ]
    }
  )
}

/**
 * @param {string} url
 * @param {number} seed
 */
export function askForEight(url, seed) {
  return generate(url, { ...EIGHT, seed }, { most: PATIENCE_MS })
}

/**
 * Checks that each client gets its images or is told when to retry.
 *
 * @param {string} attack
 * @param {readonly Answer[]} answers
 * @returns {Row}
 */
export function everyOne(attack, answers) {
  const served = answers.filter(complete).length
  const told = answers.filter(refused).length
  const first = answers.find((answer) => !complete(answer) && !refused(answer))
  return {
    attack,
    limit: '0 without 200 or a refusal with Retry-After, ≥ 1 served',
    found: `${tally(answers.map(({ status }) => status))}${first === undefined ? '' : `; first: ${first.body.toString('utf8', 0, 100)}`}`,
    held: served > 0 && served + told === answers.length
  }
}

/** Tells whether an answer has all its images. @param {Answer} answer */
function complete({ status, body }) {
  return (
    status === 200 &&
    body.subarray(0, 6).toString() === '{"id":' &&
    body.at(-1) === 0x7d &&
    body.toString('latin1').split('"mime_type"').length === EIGHT.num_images + 1
  )
}

/**
 * @param {import('./lib/gateway.mjs').Gateway} gateway
 * @param {number | undefined} memoryMib
 * @param {string} what
 * @returns {Row}
 */
export function memory(gateway, memoryMib, what) {
  const peak = peakMib(gateway.pid)
  const shown = peak === undefined ? 'it ended' : `${amount(peak)} MiB RSS`
  const attack = `${what}: memory`
  if (memoryMib === undefined)
    return { attack, limit: `≤ ${PEAK_MIB} MiB RSS`, found: shown, held: peak !== undefined && peak <= PEAK_MIB }
  const { group } = gateway
  if (group === undefined)
    return {
      attack,
      limit: `${amount(memoryMib)} MiB`,
      found: `not measured: no cgroup; ${shown} of the run's limit of ${amount(GUARD_MIB)} MiB`,
      held: peak === undefined ? false : undefined
    }
  const kills = group.kills()
  return {
    attack,
    limit: `${amount(memoryMib)} MiB, 0 OOM kills`,
    found: `${kills} OOM kills, ${shown}`,
    held: kills === 0 && peak !== undefined
  }
}
