// @ts-check
// Cgroups with a memory limit. They need root, and Linux with cgroup v1 or v2.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { atEnd } from './cleanup.mjs'
import { signal } from './proc.mjs'

const V1 = '/sys/fs/cgroup/memory'
const V2 = '/sys/fs/cgroup'
/** How often to try to remove a group: the kernel takes a moment to notice that its last process has ended. */
const TRIES = 50

/**
 * @typedef {object} Group
 * @property {string} procs the file to write its processes' ids to
 * @property {() => number} kills the number of OOM kills
 * @property {() => number} peak its peak memory in MiB; NaN if the kernel does not report it
 * @property {() => void} remove kills its processes and removes it
 */

let made = 0

/**
 * Makes a group with a memory limit and without swap.
 *
 * @param {number} mib
 * @returns {Group | undefined} undefined if this machine does not allow it
 */
export function memoryGroup(mib) {
  made += 1
  const name = `easel-abuse-${process.pid}-${made}`
  const bytes = String(mib * 2 ** 20)
  try {
    if (existsSync(join(V1, 'memory.limit_in_bytes')))
      return group(
        join(V1, name),
        { 'memory.limit_in_bytes': bytes, 'memory.memsw.limit_in_bytes': bytes },
        { kills: 'memory.oom_control', peak: 'memory.max_usage_in_bytes' }
      )
    if (!existsSync(join(V2, 'cgroup.controllers'))) return undefined
    writeFileSync(join(V2, 'cgroup.subtree_control'), '+memory')
    return group(
      join(V2, name),
      { 'memory.max': bytes, 'memory.swap.max': '0' },
      { kills: 'memory.events', peak: 'memory.peak' }
    )
  } catch {
    return undefined
  }
}

/**
 * @param {string} folder
 * @param {Record<string, string>} limits by file; all but the first are skipped if the kernel lacks the file
 * @param {{ kills: string, peak: string }} files
 * @returns {Group}
 */
function group(folder, limits, files) {
  mkdirSync(folder)
  try {
    for (const [index, [file, value]] of Object.entries(limits).entries())
      if (index === 0 || existsSync(join(folder, file))) writeFileSync(join(folder, file), value)
  } catch (error) {
    rmdirSync(folder)
    throw error
  }
  return {
    procs: join(folder, 'cgroup.procs'),
    kills: () => Number(/^oom_kill (\d+)$/m.exec(readFileSync(join(folder, files.kills), 'utf8'))?.[1] ?? 0),
    peak: () =>
      existsSync(join(folder, files.peak))
        ? Number(readFileSync(join(folder, files.peak), 'utf8')) / 2 ** 20
        : Number.NaN,
    remove: atEnd(() => {
      for (let left = TRIES; ; left--) {
        for (const pid of readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean))
          signal(Number(pid), 'SIGKILL')
        try {
          rmdirSync(folder)
          return
        } catch (error) {
          if (left === 0) throw error
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
        }
      }
    })
  }
}
