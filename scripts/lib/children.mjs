// @ts-check
// The processes that a script has started: none outlives it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'

const ENDING = /** @type {const} */ (['SIGHUP', 'SIGINT', 'SIGTERM'])
/** A terminal signals the whole group, and npm passes on what it is sent itself: one Ctrl-C arrives twice. */
const ONE_WISH_MS = 1000
/** How long what was started may take to end, before it is killed. */
const PATIENCE_MS = 30_000
/** How long the script itself may take to clean up after that. */
const CLEAN_UP_MS = 5000

/** @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set()
/** @type {NodeJS.Signals | undefined} the signal that ends this script */
let stopping
/** When it came. */
let since = 0

/**
 * Starts a process that ends with this script, like `spawn`.
 *
 * It leads a process group of its own. So a signal reaches it once, passed on by this script, and so do the processes that it
 * starts: pip, npm and vitest do not end all of theirs.
 */
export const start = /** @type {typeof spawn} */ (/** @type {unknown} */ (startDetached))

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnOptions} options
 */
function startDetached(command, args, options) {
  if (stopping !== undefined) throw new Error(`${command} is not started any more after ${stopping}`)
  const child = spawn(command, args, { ...options, detached: true })
  children.add(child)
  child.once('exit', () => children.delete(child))
  child.once('error', () => children.delete(child))
  return child
}

/**
 * From now on the first signal is passed on to all that was started, and the script ends after them. A second signal, unless
 * it comes together with the first, kills them.
 */
export function endWithChildren() {
  for (const signal of ENDING) process.on(signal, onSignal)
  // Of a script that fails by itself nothing is left either.
  process.once('exit', () => signalAll('SIGTERM'))
}

/** Leaves signals to whoever listens next. */
export function releaseSignals() {
  for (const signal of ENDING) process.off(signal, onSignal)
}

/** Whether a signal ends this script. */
export const stopped = () => stopping !== undefined

/** @param {NodeJS.Signals} signal */
function onSignal(signal) {
  if (stopping === undefined) {
    stopping = signal
    since = performance.now()
    process.stderr.write(`\n✗ stopped by ${signal}\n`)
    void end(signal)
  } else if (performance.now() - since >= ONE_WISH_MS) {
    signalAll('SIGKILL')
  }
}

/** @param {NodeJS.Signals} signal */
async function end(signal) {
  process.exitCode = 128 + constants.signals[signal]
  const ends = [...children].map((child) => once(child, 'exit'))
  signalAll(signal)
  const patience = setTimeout(() => signalAll('SIGKILL'), PATIENCE_MS)
  await Promise.all(ends)
  clearTimeout(patience)
  // What the script still does has its time, as long as it does something.
  setTimeout(() => process.exit(), CLEAN_UP_MS).unref()
}

/** @param {NodeJS.Signals} signal */
function signalAll(signal) {
  for (const { pid } of children) {
    try {
      if (pid !== undefined) process.kill(-pid, signal)
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH') throw error
    }
  }
}
