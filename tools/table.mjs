// @ts-check
import { cpus, totalmem } from 'node:os'

/** Describes the machine and the software in a line, without which a figure means little. */
export function machine() {
  const gib = (totalmem() / 2 ** 30).toFixed(0)
  return `Node ${process.version} on ${cpus().length} × ${cpus()[0]?.model.trim()}, ${gib} GiB`
}

/**
 * @param {readonly number[]} values
 * @param {number} q from 0 to 1
 */
export function quantile(values, q) {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}

/**
 * Formats a Markdown table.
 *
 * @param {readonly string[]} head
 * @param {readonly (readonly (string | number)[])[]} rows
 */
export function table(head, rows) {
  const line = (/** @type {readonly (string | number)[]} */ cells) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
