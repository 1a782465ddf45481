// @ts-check
// Groups of the kernel with a limit of memory. They take root, and Linux with cgroup v1 or v2.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { atEnd } from './cleanup.mjs'
import { signal } from './proc.mjs'

const V1 = '/sys/fs/cgroup/memory'
const V2 = '/sys/fs/cgroup'
/** How often removing a group is tried: the kernel takes a moment to notice that its last process is gone. */
const TRIES = 50

/**
 * @typedef {object} Group
 * @property {string} procs the file that takes the ids of its processes
 * @property {() => number} kills how many of its processes the kernel has ended for want of memory
 * @property {() => number} peak the most memory that it had in use, in MiB; NaN where the kernel does not tell
 * @property {() => void} remove ends what is still in it
 */

let made = 0

/**
 * A new group that may use so much memory, and no swap.
 *
 * @param {number} mib
 * @returns {Group | undefined} undefined where none can be made
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
 * @param {Record<string, string>} limits a file that the kernel does not have is left out; the first must be there
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
