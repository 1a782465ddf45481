// @ts-check
// Ensures that no process that a script started outlives it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'

const ENDING = /** @type {const} */ (['SIGHUP', 'SIGINT', 'SIGTERM'])
/** A terminal signals the whole process group and npm forwards its signals, so one Ctrl-C arrives twice. */
const ONE_WISH_MS = 1000
/** How long a child may take to end before it is killed: a gateway first finishes its running requests. */
const PATIENCE_MS = 30_000
/** The same for disposable children: npm takes 7 s to restore files that the next install removes. */
const LITTLE_PATIENCE_MS = 1000
/** How long the script may take to clean up after that. */
const CLEAN_UP_MS = 5000

/** @typedef {import('node:child_process').ChildProcess} Child */

/** @type {Set<Child>} */
const children = new Set()
/** @type {WeakSet<Child>} children that are killed early */
const disposable = new WeakSet()
/** @type {NodeJS.Signals | undefined} the signal that ends this script */
let stopping
/** When the signal arrived. */
let since = 0
/** @type {((pid: number) => void) | undefined} */
let noteStart
/** Whether this process ends its children. */
let managing = false

/**
 * Starts a process that ends with this script, like `spawn`.
 *
 * The process leads its own process group. This script forwards a signal to the group once, which also ends the processes
 * that the child started: pip, npm and vitest do not end all of theirs. Without `endWithChildren` this is just `spawn`.
 */
export const startChild = /** @type {typeof spawn} */ (/** @type {unknown} */ (startDetached))

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnOptions} options
 */
function startDetached(command, args, options) {
  if (stopping !== undefined) throw new Error(`${command} was not started because of ${stopping}`)
  const child = spawn(command, args, { ...options, detached: managing })
  children.add(child)
  if (child.pid !== undefined) noteStart?.(child.pid)
  child.once('exit', () => children.delete(child))
  child.once('error', () => children.delete(child))
  return child
}

/**
 * Marks a child that may be killed soon after a signal, because it leaves nothing worth keeping.
 *
 * @param {Child} child
 */
export function dispose(child) {
  disposable.add(child)
}

/**
 * @param {((pid: number) => void) | undefined} note is called with the pid of every process when it starts
 */
export function recordStarts(note) {
  noteStart = note
}

/**
 * From now on, the first signal is forwarded to all children, and the script ends after them. A second signal kills them,
 * unless it arrives together with the first.
 */
export function endWithChildren() {
  managing = true
  for (const signal of ENDING) process.on(signal, onSignal)
  // A script that fails leaves no children either.
  process.once('exit', () => signalAll('SIGTERM'))
}

/** Stops handling signals, so that another listener can. */
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
  // Their own children, and those that ignored the signal.
  for (const child of started) signalGroup(child, 'SIGKILL')
  // The script has some time for its cleanup, and ends earlier when it is done.
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
    // The group has no process left.
  }
}
