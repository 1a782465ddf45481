// @ts-check
// Reads the kernel's information about processes. Linux only: it reads /proc.
import { readdirSync, readFileSync } from 'node:fs'

/**
 * Returns the processes whose command line contains a text, without zombies.
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
 * Returns the memory that a process uses in MiB; undefined if it does not exist.
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
