// @ts-check
// The processes that a script has started: none outlives it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'

const ENDING = /** @type {const} */ (['SIGHUP', 'SIGINT', 'SIGTERM'])
/** A terminal signals the whole group, and npm passes on what it is sent itself: one Ctrl-C arrives twice. */
const ONE_WISH_MS = 1000
/** How long what was started may take to end, before it is killed: a gateway finishes what runs. */
const PATIENCE_MS = 30_000
/** The same where nothing is lost: npm takes 7 s to put back what the next install removes. */
const LITTLE_PATIENCE_MS = 1000
/** How long the script itself may take to clean up after that. */
const CLEAN_UP_MS = 5000

/** @typedef {import('node:child_process').ChildProcess} Child */

/** @type {Set<Child>} */
const children = new Set()
/** @type {WeakSet<Child>} those that are not waited for long */
const disposable = new WeakSet()
/** @type {NodeJS.Signals | undefined} the signal that ends this script */
let stopping
/** When it came. */
let since = 0
/** @type {((pid: number) => void) | undefined} */
let noteStart
/** Whether this process ends what it has started. */
let managing = false

/**
 * Starts a process that ends with this script, like `spawn`.
 *
 * It leads a process group of its own. So a signal reaches it once, passed on by this script, and so do the processes that it
 * starts: pip, npm and vitest do not end all of theirs. (In a process that does not call `endWithChildren` it is `spawn`.)
 */
export const startChild = /** @type {typeof spawn} */ (/** @type {unknown} */ (startDetached))

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnOptions} options
 */
function startDetached(command, args, options) {
  if (stopping !== undefined) throw new Error(`${command} is not started any more after ${stopping}`)
  const child = spawn(command, args, { ...options, detached: managing })
  children.add(child)
  if (child.pid !== undefined) noteStart?.(child.pid)
  child.once('exit', () => children.delete(child))
  child.once('error', () => children.delete(child))
  return child
}

/**
 * What was started may be killed soon after a signal: it leaves nothing that anybody keeps.
 *
 * @param {Child} child
 */
export function dispose(child) {
  disposable.add(child)
}

/**
 * @param {((pid: number) => void) | undefined} note is told of every process from its start on
 */
export function recordStarts(note) {
  noteStart = note
}

/**
 * From now on the first signal is passed on to all that was started, and the script ends after them. A second signal, unless
 * it comes together with the first, kills them.
 */
export function endWithChildren() {
  managing = true
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
  const started = [...children]
  const ends = started.map((child) => once(child, 'exit'))
  signalAll(signal)
  const patience = [
    setTimeout(() => signalAll('SIGKILL', (child) => disposable.has(child)), LITTLE_PATIENCE_MS),
    setTimeout(() => signalAll('SIGKILL'), PATIENCE_MS)
  ]
  await Promise.all(ends)
  for (const timer of patience) clearTimeout(timer)
  // What they had started, and what took no notice.
  for (const child of started) signalGroup(child, 'SIGKILL')
  // What the script still does has its time, as long as it does something.
  setTimeout(() => process.exit(), CLEAN_UP_MS).unref()
}

/**
 * @param {NodeJS.Signals} signal
 * @param {(child: Child) => boolean} [whom]
 */
function signalAll(signal, whom = () => true) {
  for (const child of [...children].filter(whom)) signalGroup(child, signal)
}

/**
 * @param {Child} leader
 * @param {NodeJS.Signals} signal
 */
function signalGroup({ pid }, signal) {
  try {
    if (pid !== undefined) process.kill(-pid, signal)
  } catch {
    // Nothing is left of the group.
  }
}
