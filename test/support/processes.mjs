// @ts-check
// What the kernel knows of processes. Linux only: it reads /proc.
import { readdirSync, readFileSync } from 'node:fs'

/**
 * Processes with a text in their command line, zombies left out.
 *
 * @param {string} text
 * @returns {number[]}
 */
export function processesWith(text) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && read(`/proc/${pid}/cmdline`).includes(text))
}

/**
 * Memory that a process has in use, in MiB; undefined for one that is gone.
 *
 * @param {number} pid
 */
export function residentMib(pid) {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1]
  return kib === undefined ? undefined : Number(kib) / 1024
}

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
