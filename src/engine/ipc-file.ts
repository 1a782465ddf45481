import { chmodSync, lstatSync, renameSync, type Stats, unlinkSync } from 'node:fs'
import { lstat, readdir, realpath } from 'node:fs/promises'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { freshSocketPath, isFreshSocketName } from '../socket-path.js'
import { LockHeld, lockPath } from './ipc-lock.js'

/** What fits into sockaddr_un with its closing zero, in bytes (macOS: 103). */
const MAX_PATH_BYTES = process.platform === 'darwin' ? 103 : 107
const OWNER_ONLY = 0o600
const GROUP_AND_OTHERS = 0o177
/** A socket younger than this may belong to a gateway that has bound it and does not listen yet, in ms. */
const SETTLED_MS = 10_000

/** The file of a bound ipc socket. */
export interface IpcFile {
  /** Removes the file, if it is still ours, and lets others bind the path. To be called when the socket is closed. */
  release: () => Promise<void>
}

/**
 * Binds a socket to a path that no other process has, with mode 0600.
 *
 * A socket that nobody listens on (its gateway was killed) is replaced. Nothing else is ever removed: not a file of
 * another kind, and not the socket of a living process.
 *
 * @param path absolute
 * @param bind binds the socket to a path, synchronously; ZeroMQ removes whatever is there, so it is given a fresh one
 * @throws Error that names WORKER_ENDPOINT and the path
 */
export async function bindIpcFile(path: string, bind: (path: string) => void): Promise<IpcFile> {
  const fail = (why: string, cause?: unknown): never => {
    throw new Error(`WORKER_ENDPOINT=ipc://${path}: ${why}`, { cause })
  }
  const bytes = Buffer.byteLength(path)
  if (bytes > MAX_PATH_BYTES)
    fail(`the path has ${bytes} bytes, and that of a socket may have ${MAX_PATH_BYTES}; choose a shorter one`)
  const folder = await realpath(dirname(path)).catch((error: Error) =>
    fail(`the folder ${dirname(path)} cannot be used: ${error.message}`, error)
  )
  const unlock = await lockPath(join(folder, basename(path))).catch((error: Error) =>
    error instanceof LockHeld
      ? fail('another gateway has this socket; stop that one, or choose another path', error)
      : fail(error.message, error)
  )
  try {
    const before = await replaceable(path, fail)
    const own = bindFresh(dirname(path), bind, fail)
    try {
      // ZeroMQ removes what is at the path that it binds. So it binds a fresh one, which is then moved, in one step, to
      // where it belongs: workers see a socket that listens and that has its mode.
      if (!same(look(path), before)) fail('somebody else has just made a file there')
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

/** What is at the path and may be replaced: nothing, or a socket that nobody listens on. */
async function replaceable(path: string, fail: (why: string, cause?: unknown) => never): Promise<Stats | undefined> {
  const stats = look(path)
  if (stats === undefined) return undefined
  if (!stats.isSocket())
    fail(`${path} exists and is no socket; it is left as it is. Choose another path, or move it away`)
  const state = await probe(path).catch((error: Error) =>
    fail(`whether another gateway has this socket cannot be found out: ${error.message}`, error)
  )
  if (state === 'living') fail('another gateway has this socket; stop that one, or choose another path')
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
    fail(`its folder has too long a path: a socket there takes ${bytes} bytes, and may have ${MAX_PATH_BYTES}`)
  // The umask is the process's: it is set for no longer than this synchronous call.
  const umask = process.umask(GROUP_AND_OTHERS)
  try {
    bind(fresh)
  } catch (error) {
    fail(`a socket cannot be made in ${folder}: ${(error as Error).message}`, error)
  } finally {
    process.umask(umask)
  }
  chmodSync(fresh, OWNER_ONLY)
  return { path: fresh, stats: lstatSync(fresh) }
}

/** Removes sockets of the default form that this user's killed gateways have left in the folder. Never fails. */
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

/** Whether anybody listens on a socket. @throws when that cannot be found out, as with one of another user's */
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
      // So many wait to be accepted that one more is not let in.
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
    // Somebody else was faster, or has taken the folder's permission away: the next gateway finds it stale.
  }
}
