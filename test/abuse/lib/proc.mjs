// @ts-check
// More information about processes. Linux only: it reads /proc.
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** The state of a listening socket in /proc/net/tcp. */
const LISTEN = '0A'

/**
 * Returns a process's peak memory in MiB; undefined if it does not exist.
 *
 * @param {number} pid
 */
export function peakMib(pid) {
  const kib = /^VmHWM:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1]
  return kib === undefined ? undefined : Number(kib) / 1024
}

/**
 * Resets the peak that `peakMib` returns.
 *
 * @param {number} pid
 */
export function forgetPeak(pid) {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5')
  } catch {
    // The process has ended or is not ours: its peak stays.
  }
}

/**
 * Tells whether a process runs or is stopped. A zombie counts as ended.
 *
 * @param {number} pid
 */
export function lives(pid) {
  const state = /^\d+ \(.*\) (\w)/s.exec(read(`/proc/${pid}/stat`))?.[1]
  return state !== undefined && state !== 'Z' && state !== 'X'
}

/**
 * Returns the TCP port that a process listens on; undefined if none.
 *
 * @param {number} pid
 */
export function listeningPort(pid) {
  const inodes = new Set(descriptors(pid).flatMap((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []))
  for (const line of read(`/proc/${pid}/net/tcp`).split('\n')) {
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
    if (state === LISTEN && inodes.has(inode)) return Number.parseInt(local.split(':')[1] ?? '', 16)
  }
  return undefined
}

/**
 * Returns the targets of a process's open descriptors.
 *
 * @param {number} pid
 */
function descriptors(pid) {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`)
      } catch {
        return ''
      }
    })
  } catch {
    return []
  }
}

/**
 * Sends a signal to a process unless it has ended.
 *
 * @param {number} pid
 * @param {NodeJS.Signals} name
 */
export function signal(pid, name) {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended in the meantime.
  }
}

/**
 * Waits until a condition holds or the time is over.
 *
 * @param {() => boolean | Promise<boolean>} condition
 * @param {number} most ms
 * @returns {Promise<number | undefined>} the elapsed ms; undefined if it did not hold in time
 */
export async function waitFor(condition, most) {
  const start = performance.now()
  while (!(await condition())) {
    if (performance.now() - start > most) return undefined
    await sleep(10)
  }
  return performance.now() - start
}

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
