// @ts-check
import { machine, table } from '../../tools/table.mjs'
import { GAUGES, lawGap, total } from '../support/metrics.mjs'

/** @typedef {{ gateway: number, workers: number }} Flat growth that counts as none, in MiB per 1,000 requests */
/** @typedef {{ check: string, found: string, ok: boolean }} Finding */

/**
 * Compares the promises with the observations.
 *
 * @param {import('./run.mjs').Observed} observed
 * @param {Flat} [flat] omitted if the run is too short for meaningful slopes
 * @returns {Finding[]}
 */
export function judge(observed, flat) {
  const { tally, lawBroken, scrapes, last, end, logged } = observed
  const count = (/** @type {string} */ name) => total(last, name)
  const crashed = tally.ends['WORKER_CRASHED'] ?? 0
  const gauges = GAUGES.map((name) => `${name} ${count(name)}`)
  return [
    {
      check: 'every request ends exactly once and as expected',
      found: tally.broken.length === 0 ? 'yes' : `${tally.broken.length} broken, first: ${tally.broken[0]}`,
      ok: tally.broken.length === 0
    },
    {
      check: 'accepted = succeeded + failed + cancelled + expired + in flight',
      found: `broken at ${lawBroken} of ${scrapes} scrapes; ${lawGap(last)} at the end`,
      ok: lawBroken === 0 && lawGap(last) === 0
    },
    {
      check: 'no more failures than lost workers',
      found: `${crashed} of ${count('easel_workers_lost_total')}`,
      ok: crashed <= count('easel_workers_lost_total')
    },
    { check: 'gauges are back at 0', found: gauges.join(', '), ok: GAUGES.every((name) => count(name) === 0) },
    {
      check: 'all workers are back',
      found: `${count('easel_workers_ready')} of ${count('easel_workers_expected')}`,
      ok: count('easel_workers_ready') === count('easel_workers_expected')
    },
    ...(flat === undefined ? [] : judgeMemory(observed.memory, flat)),
    {
      check: 'no internal errors in the log',
      found: logged.length === 0 ? 'nothing' : `${logged.length} lines, first: ${logged[0]}`,
      ok: logged.length === 0
    },
    {
      check: 'exit status after SIGTERM',
      found: `${end.status}${end.stderr === '' ? '' : `; ${end.stderr.slice(0, 200)}`}`,
      ok: end.status === 0 && end.stderr === ''
    },
    { check: 'no leftover process', found: String(end.orphans.length), ok: end.orphans.length === 0 },
    { check: 'no leftover file or socket', found: end.files.join(', ') || 'none', ok: end.files.length === 0 }
  ]
}

/**
 * @param {import('./run.mjs').Observed['memory']} memory
 * @param {Flat} flat
 * @returns {Finding[]}
 */
function judgeMemory({ gateway, workers, gatewayPeak, workersPeak }, flat) {
  const found = (/** @type {number} */ slope, /** @type {number} */ peak) =>
    `${slope.toFixed(2)} MiB per 1,000 requests, peak ${peak.toFixed(0)} MiB`
  return [
    {
      check: `the gateway's memory is flat (≤ ${flat.gateway} MiB per 1,000 requests)`,
      found: found(gateway, gatewayPeak),
      ok: gateway <= flat.gateway
    },
    {
      check: `the workers' memory is flat (≤ ${flat.workers} MiB per 1,000 requests)`,
      found: found(workers, workersPeak),
      ok: workers <= flat.workers
    }
  ]
}

/**
 * Prints a summary, and the findings as a table.
 *
 * @param {string} title
 * @param {import('./run.mjs').Observed} observed
 * @param {readonly Finding[]} findings
 */
export function print(title, { tally, faults, seconds, last }, findings) {
  const list = (/** @type {Record<string, number>} */ counts) =>
    Object.entries(counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ')
  const requests = Object.values(tally.ends).reduce((sum, count) => sum + count, 0)
  console.log(`\n${title}: ${requests} requests in ${tally.attempts} attempts, ${seconds.toFixed(0)} s; ${machine()}`)
  console.log(`ends: ${list(tally.ends)}`)
  console.log(
    `workers: ${list(faults)}; ${total(last, 'easel_worker_restarts_total')} restarts, ${total(last, 'easel_replays_total')} replays\n`
  )
  console.log(
    table(
      ['check', 'found', 'ok'],
      findings.map(({ check, found, ok }) => [check, found, ok ? '✓' : '✗'])
    )
  )
}
