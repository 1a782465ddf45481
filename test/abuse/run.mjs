// @ts-check
// The list of attacks and the table of their results. `npm run abuse` runs all of them, the test only the cheap ones.
import { machine, quantile, table } from '../../tools/table.mjs'
import { amount } from './lib/attack.mjs'
import { HEALTH_MS } from './lib/limits.mjs'
import { descriptorAttacks } from './descriptors.mjs'
import { errorAttacks } from './errors.mjs'
import { everythingAttacks } from './everything.mjs'
import { frozenAttacks } from './frozen.mjs'
import { ipcAttacks } from './ipc.mjs'
import { loadAttacks } from './load.mjs'
import { logAttacks } from './logs.mjs'
import { modelAttacks } from './models.mjs'
import { orphanAttacks } from './orphans.mjs'
import { pictureAttacks } from './pictures.mjs'
import { recipeAttacks } from './recipe.mjs'
import { unreadAttacks } from './unread.mjs'
import { uploadAttacks } from './uploads.mjs'
import { watcherAttacks } from './watchers.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {import('./lib/attack.mjs').Outcome} Outcome */
/** With fewer answers than this, the 99th percentile is the slowest answer. */
const ENOUGH = 100

/** @typedef {(options: { short?: boolean }) => Promise<Outcome[]>} Attack */

/**
 * Attacks by name. `npm test` skips `everything`, which needs a cgroup and a minute.
 *
 * @type {Record<string, Attack>}
 */
export const ATTACKS = {
  recipe: recipeAttacks,
  pictures: pictureAttacks,
  unread: unreadAttacks,
  uploads: uploadAttacks,
  load: loadAttacks,
  orphans: orphanAttacks,
  logs: logAttacks,
  frozen: frozenAttacks,
  descriptors: descriptorAttacks,
  models: modelAttacks,
  watchers: watcherAttacks,
  ipc: ipcAttacks,
  errors: errorAttacks,
  everything: everythingAttacks
}

/** These mostly wait, so they run at the same time, before the others. */
export const WAITING = new Set(['orphans', 'frozen'])

/**
 * Runs attacks: those that mostly wait at the same time, the others in turn.
 *
 * @param {readonly string[]} names
 * @param {(text: string) => void} say reports progress
 */
export async function run(names, say) {
  const perform = async (/** @type {string} */ name) => {
    const start = performance.now()
    const outcomes = await /** @type {Attack} */ (ATTACKS[name])({})
    const broken = outcomes.flatMap(({ rows }) => rows).filter((row) => !holds(row)).length
    say(
      `${name}: ${broken === 0 ? 'held' : `${broken} did not hold`} (${((performance.now() - start) / 1000).toFixed(1)} s)`
    )
    return outcomes
  }
  const outcomes = (await Promise.all(names.filter((name) => WAITING.has(name)).map(perform))).flat()
  for (const name of names.filter((each) => !WAITING.has(each))) outcomes.push(...(await perform(name)))
  return outcomes
}

/** Tells whether a row's limit held or could not be measured here. @param {Row} row */
export function holds({ held, inTime }) {
  return held !== false && inTime !== false
}

/**
 * Returns the last rows of the table: limits that hold during all attacks.
 *
 * @param {readonly Outcome[]} outcomes
 * @returns {Row[]}
 */
export function overall(outcomes) {
  const watched = outcomes.flatMap((outcome) => outcome.watched)
  if (watched.length === 0) return []
  const limit = `p99 ≤ ${HEALTH_MS} ms`
  const scrapes = watched.reduce((sum, { probed }) => sum + probed.scrapes, 0)
  const gaps = watched.flatMap(({ probed }) => probed.gaps)
  const dead = watched.filter(({ died }) => died !== undefined)
  const lost = watched.filter(({ workersLost }) => workersLost > 0)
  const peak = Math.max(...watched.map(({ probed }) => probed.peakMib))
  const late = watched.flatMap(({ probed }) => probed.late)
  return [
    ...watched.map(({ name, probed }) => ({ attack: `/health during: ${name}`, limit, ...health(probed.admin) })),
    {
      attack: `/health during all attacks (the prober's own delay: ${amount(quantile(late, 0.99))} ms at p99)`,
      limit,
      ...health(watched.flatMap(({ probed }) => probed.admin))
    },
    {
      attack: "/health during all attacks on the clients' port, over a kept-alive connection",
      limit,
      ...health(watched.flatMap(({ probed }) => probed.kept))
    },
    {
      attack: "/health during all attacks on the clients' port, over new connections",
      limit: 'none: they queue behind earlier connections',
      ...health(watched.flatMap(({ probed }) => probed.fresh)),
      held: true
    },
    {
      attack: 'accepted = ended + in flight, at every scrape',
      limit: 'gap 0',
      found: gaps.length === 0 ? `0 at ${scrapes} scrapes` : `${gaps.length} of ${scrapes} scrapes, ${gaps[0]} first`,
      held: gaps.length === 0 && scrapes > 0
    },
    {
      attack: 'gateways that ended prematurely',
      limit: `0 of ${watched.length}`,
      found:
        dead.length === 0 ? '0' : `${dead.length}: ${dead.map(({ name, died }) => `${name} (${died})`).join('; ')}`,
      held: dead.length === 0
    },
    {
      attack: 'healthy workers that a gateway lost or killed',
      limit: '0',
      found: lost.length === 0 ? '0' : lost.map(({ name, workersLost }) => `${workersLost} (${name})`).join('; '),
      held: lost.length === 0
    },
    { attack: 'peak memory of a gateway (VmHWM)', limit: 'see above', found: `${amount(peak)} MiB`, held: true }
  ]
}

/** @param {readonly number[]} times ms */
function health(times) {
  const [p50, p99, most] = [0.5, 0.99, 1].map((q) => quantile(times, q))
  const shown = (/** @type {number | undefined} */ ms) =>
    ms === undefined || !Number.isFinite(ms) ? 'no answer' : `${amount(ms)} ms`
  const few = times.length < ENOUGH
  return {
    found: `${shown(p99)} (p50 ${shown(p50)}, max ${shown(most)}, ${times.length} requests${few ? ': too few to judge alone' : ''})`,
    held: p99 !== undefined && (p99 <= HEALTH_MS || (few && Number.isFinite(p99)))
  }
}

/** @param {readonly Row[]} rows */
export function print(rows) {
  const cell = (/** @type {string} */ text) => text.replaceAll('|', String.raw`\|`).replaceAll('\n', ' ')
  const held = (/** @type {Row} */ row) => (row.held === undefined ? 'not measured' : holds(row) ? 'yes' : 'NO')
  console.log(`\nUnder attack; ${machine()}\n`)
  console.log(
    table(
      ['attack', 'limit', 'found', 'held'],
      rows.map((row) => [cell(row.attack), cell(row.limit), cell(row.found), held(row)])
    )
  )
}
