// @ts-check

/** @typedef {Map<string, number>} Samples by name with labels, as printed */

/**
 * @param {string} url
 * @returns {Promise<Samples>}
 */
export async function scrape(url) {
  const text = await (await fetch(`${url}/metrics`)).text()
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))])
  )
}

/**
 * Sums a metric over its labels.
 *
 * @param {Samples} samples
 * @param {string} name
 */
export function total(samples, name) {
  return [...samples].reduce((sum, [key, value]) => (key === name || key.startsWith(`${name}{`) ? sum + value : sum), 0)
}

/**
 * Returns the difference between accepted requests and those ended or in flight, which must be 0 at every scrape.
 *
 * @param {Samples} samples
 */
export function lawGap(samples) {
  return (
    total(samples, 'easel_requests_accepted_total') -
    total(samples, 'easel_requests_total') -
    total(samples, 'easel_requests_in_flight')
  )
}

/** Gauges that must be zero when no work is left. */
export const GAUGES = ['easel_requests_in_flight', 'easel_queue_depth', 'easel_rows_in_use']
