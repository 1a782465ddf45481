// @ts-check
import { machine, table } from '../../tools/table.mjs'

/**
 * Prints what a run of durable jobs found, and returns whether all promises held.
 *
 * @param {string} title
 * @param {import('./durable.mjs').Observed} observed
 */
export function printDurable(
  title,
  { jobs, ends, faults, unavailable, madeAgain, continued, told, broken, logged, storeLines, seconds }
) {
  const list = (/** @type {Record<string, number>} */ counts) =>
    Object.entries(counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ')
  const drained = faults['gateway drained'] ?? 0
  const ended = Object.values(ends).reduce((sum, count) => sum + count, 0)
  console.log(`\n${title}: ${jobs} jobs in ${seconds.toFixed(0)} s; ${machine()}`)
  console.log(`faults: ${list(faults)}`)
  console.log(`receivers of webhooks: ${list(told.failures)}; ${told.ends} ends in ${told.messages} messages`)
  console.log(
    `${unavailable} answers were 503 or missing and asked for again; ${madeAgain} further claims of jobs, of which ${continued} went on with half-done images\n`
  )
  const findings = [
    ['every job has one end, none is lost', `${list(ends)} of ${jobs}`, ended === jobs],
    [
      'bytes, files, counts and ledgers are right at both gateways, and every end is told under one id',
      broken.length === 0 ? 'yes' : `${broken.length} broken, first: ${broken[0]}`,
      broken.length === 0
    ],
    ['half-done images go on at another gateway', `${continued} jobs`, drained < 4 || continued > 0],
    [
      'no internal errors in the log',
      logged.length === 0
        ? `nothing; ${storeLines} lines about the store`
        : `${logged.length} lines, first: ${logged[0]}`,
      logged.length === 0
    ]
  ]
  console.log(
    table(
      ['check', 'found', 'ok'],
      findings.map(([check, found, ok]) => [String(check), String(found), ok ? '✓' : '✗'])
    )
  )
  return findings.every(([, , ok]) => ok)
}
