// @ts-check
// Only one command at a time installs and builds, because npm and pip write to folders that another command may remove.
import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { recordStarts } from './children.mjs'

const LOOK_EVERY_MS = 200
/** An uninterrupted command takes no longer to write a line or remove a dead command's lock. */
const MOMENT_MS = 10_000

/**
 * Does work while no other command in this folder does such work. The lock of a killed command is removed after ending its
 * children: an npm or a pip may outlive it.
 *
 * @template T
 * @param {string} root folder of the repository
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function alone(root, work) {
  const file = join(root, '.cache/install.lock')
  mkdirSync(dirname(file), { recursive: true })
  await acquire(file)
  recordStarts((pid) => appendFileSync(file, line(pid)))
  try {
    return await work()
  } finally {
    recordStarts(undefined)
    rmSync(file, { force: true })
  }
}

/** @param {string} file */
async function acquire(file) {
  let said = false
  for (;;) {
    try {
      writeFileSync(file, line(process.pid), { flag: 'wx' })
      return
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error
    }
    const found = read(file)
    const [holder] = processesIn(found)
    if (holder === undefined ? ageOf(file) > MOMENT_MS : !lives(holder)) {
      takeAway(file, found)
      continue
    }
    if (!said && holder !== undefined)
      process.stdout.write(`• Waiting for another command that installs or builds (process ${holder.pid}) …\n`)
    said ||= holder !== undefined
    await sleep(LOOK_EVERY_MS)
  }
}

/**
 * Removes a dead command's lock, but not that of a command that has just taken its place.
 *
 * @param {string} file
 * @param {string} dead the content of the dead command's lock
 */
function takeAway(file, dead) {
  const guard = `${file}.guard`
  try {
    mkdirSync(guard)
  } catch {
    if (ageOf(guard) > MOMENT_MS) rmSync(guard, { recursive: true, force: true })
    return
  }
  try {
    if (read(file) !== dead) return
    for (const left of processesIn(dead).filter(lives)) endGroup(left.pid)
    rmSync(file, { force: true })
  } finally {
    rmSync(guard, { recursive: true, force: true })
  }
}

/** @typedef {{ pid: number, identity: string }} Noted */

/** @param {number} pid */
function line(pid) {
  return `${pid} ${identityOf(pid)}\n`
}

/**
 * @param {string} text
 * @returns {Noted[]} the lock's holder, then its children
 */
function processesIn(text) {
  return [...text.matchAll(/^(\d+) (.*)\n/gm)].map(([, pid, identity = '']) => ({ pid: Number(pid), identity }))
}

/** @param {Noted} noted */
function lives({ pid, identity }) {
  return identity !== '' && identityOf(pid) === identity
}

/**
 * Returns what distinguishes a process from a later one with the same pid, which a restarted machine or container may reuse.
 * Empty if the process does not exist.
 *
 * @param {number} pid
 */
function identityOf(pid) {
  try {
    if (process.platform !== 'linux')
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()
    // The name in brackets may contain spaces. Field 3 is the state, field 22 the start in ticks since boot.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
    return fields[0] === 'Z' ? '' : `${fields[19]} ${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}`
  } catch {
    return ''
  }
}

/** @param {number} pid leader of a process group */
function endGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended in the meantime.
  }
}

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** @param {string} file */
function ageOf(file) {
  return Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
}
