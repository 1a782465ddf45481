import { chmodSync, lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs'
import { lstat, readdir, realpath } from 'node:fs/promises'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { freshSocketPath, isFreshSocketName } from '../socket-path.js'
import { LockHeld, lockPath } from './ipc-lock.js'

/** Longest path that fits into sockaddr_un with its terminating zero, in bytes. */
const MAX_PATH_BYTES = process.platform === 'darwin' ? 103 : 107
const OWNER_ONLY = 0o600
const GROUP_AND_OTHERS = 0o177
/** A socket younger than this, in ms, may belong to a gateway that has bound it but does not listen yet. */
const SETTLED_MS = 10_000

/** The file of a bound ipc socket. */
export interface IpcFile {
  /** Removes the file if it is still ours, and unlocks the path. Call it after closing the socket. */
  release: () => Promise<void>
}

/**
 * Binds a socket to a path that no other process uses, with mode 0600.
 *
 * Replaces a socket that nobody listens on, as a killed gateway leaves behind. Never removes any other file, nor the
 * socket of a live process.
 *
 * @param path absolute
 * @param bind binds the socket to a path, synchronously. ZeroMQ deletes what is at that path, so it gets a fresh one
 * @throws Error that names WORKER_ENDPOINT and the path
 */
export async function bindIpcFile(path: string, bind: (path: string) => void): Promise<IpcFile> {
  const fail = (why: string, cause?: unknown): never => {
    throw new Error(`WORKER_ENDPOINT=ipc://${path}: ${why}`, { cause })
  }
  const bytes = Buffer.byteLength(path)
  if (bytes > MAX_PATH_BYTES)
    fail(`the path has ${bytes} bytes, and a socket's path may have at most ${MAX_PATH_BYTES}; choose a shorter one`)
  const folder = await realpath(dirname(path)).catch((error: Error) =>
    fail(`the folder ${dirname(path)} cannot be used: ${error.message}`, error)
  )
  const unlock = await lockPath(join(folder, basename(path))).catch((error: Error) =>
    error instanceof LockHeld
      ? fail('another gateway uses this socket; stop that gateway or choose another path', error)
      : fail(error.message, error)
  )
  try {
    const before = await replaceable(path, fail)
    const own = bindFresh(dirname(path), bind, fail)
    try {
      // ZeroMQ deletes whatever is at the path it binds. So bind a fresh path and rename it into place: workers only
      // ever see a socket that listens and has its final mode.
      if (!same(look(path), before)) fail('another process has just created a file there; choose another path')
      renameSync(own.path, path)
    } catch (error) {
      remove(own.path, own.stats)
      throw error
    }
    if (isFreshSocketName(basename(path))) await removeLeftovers(dirname(path))
    return {
      async release() {
        remove(path, own.stats)
        await unlock()
      }
    }
  } catch (error) {
    await unlock()
    throw error
  }
}

/** The stale socket at the path, or undefined when the path is free. Fails on anything else. */
async function replaceable(path: string, fail: (why: string, cause?: unknown) => never): Promise<Stats | undefined> {
  const stats = look(path)
  if (stats === undefined) return undefined
  if (!stats.isSocket())
    fail(`${path} exists and is not a socket, so it was not replaced; choose another path or move the file away`)
  const state = await probe(path).catch((error: Error) =>
    fail(`cannot tell whether another gateway uses this socket: ${error.message}; choose another path`, error)
  )
  if (state === 'living') fail('another gateway uses this socket; stop that gateway or choose another path')
  return state === 'gone' ? undefined : stats
}

function bindFresh(
  folder: string,
  bind: (path: string) => void,
  fail: (why: string, cause?: unknown) => never
): { path: string; stats: Stats } {
  const fresh = freshSocketPath(folder)
  const bytes = Buffer.byteLength(fresh)
  if (bytes > MAX_PATH_BYTES)
    fail(
      `the folder's path is too long: a temporary socket there takes ${bytes} bytes, and may have at most ${MAX_PATH_BYTES}; choose a shorter folder`
    )
  // The umask is process-wide, so nothing asynchronous may run before it is restored.
  const umask = process.umask(GROUP_AND_OTHERS)
  try {
    bind(fresh)
  } catch (error) {
    fail(`cannot create a socket in ${folder}: ${(error as Error).message}`, error)
  } finally {
    process.umask(umask)
  }
  chmodSync(fresh, OWNER_ONLY)
  return { path: fresh, stats: lstatSync(fresh) }
}

/** Removes stale sockets with default names that this user's killed gateways left in the folder. Never fails. */
async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => [])
  for (const name of names.filter(isFreshSocketName)) {
    const path = join(folder, name)
    const stats = await lstat(path).catch(() => undefined)
    const left =
      stats?.isSocket() === true && stats.uid === process.getuid?.() && Date.now() - stats.mtimeMs > SETTLED_MS
    if (left && (await probe(path).catch(() => undefined)) === 'stale') remove(path, stats)
  }
}

/** Whether any process listens on a socket. @throws when that is unknown, e.g. for another user's socket */
function probe(path: string): Promise<'living' | 'stale' | 'gone'> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve('living')
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') resolve('stale')
      else if (error.code === 'ENOENT') resolve('gone')
      // The listener's backlog is full.
      else if (error.code === 'EAGAIN') resolve('living')
      else reject(error)
    })
  })
}

function look(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false })
}

function same(one: Stats | undefined, other: Stats | undefined): boolean {
  return one?.ino === other?.ino && one?.dev === other?.dev
}

/** Removes a file unless another one has taken its place. */
function remove(path: string, stats: Stats): void {
  if (!same(look(path), stats)) return
  try {
    unlinkSync(path)
  } catch {
    // Already gone, or the folder is no longer writable. The next gateway will find the socket stale.
  }
}
