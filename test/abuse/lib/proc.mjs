// @ts-check
// More of what the kernel knows of processes. Linux only: it reads /proc.
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** The state of a listening socket in /proc/net/tcp. */
const LISTEN = '0A'

/**
 * The most memory that a process has had in use, in MiB; undefined for one that is gone.
 *
 * @param {number} pid
 */
export function peakMib(pid) {
  const kib = /^VmHWM:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`))?.[1]
  return kib === undefined ? undefined : Number(kib) / 1024
}

/**
 * From now on `peakMib` tells the most since now.
 *
 * @param {number} pid
 */
export function forgetPeak(pid) {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5')
  } catch {
    // Gone, or not ours: then its peak stays.
  }
}

/**
 * Whether a process runs or is stopped. A dead one that nobody has asked for its status counts as gone.
 *
 * @param {number} pid
 */
export function lives(pid) {
  const state = /^\d+ \(.*\) (\w)/s.exec(read(`/proc/${pid}/stat`))?.[1]
  return state !== undefined && state !== 'Z' && state !== 'X'
}

/**
 * The TCP port that a process listens on; undefined as long as there is none.
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
 * What the open descriptors of a process lead to.
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
 * Sends a signal; a process that is gone does not mind.
 *
 * @param {number} pid
 * @param {NodeJS.Signals} name
 */
export function signal(pid, name) {
  try {
    process.kill(pid, name)
  } catch {
    // It has gone in the meantime.
  }
}

/**
 * Waits until a condition holds, or for so many ms.
 *
 * @param {() => boolean | Promise<boolean>} condition
 * @param {number} most ms
 * @returns {Promise<number | undefined>} ms that it took; undefined when it did not come
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
