import { createHash, randomUUID } from 'node:crypto'
import {
  type FileHandle,
  open,
  readdir,
  readlink,
  rename,
  rmdir,
  stat,
  symlink,
  unlink,
  writeFile
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { EaselError } from '../errors.js'
import { makeFolder, tryFolder, useFolder } from '../use-folder.js'
import type { Signer } from './signature.js'
import { bytesOf, type ResultStore } from './store.js'

export interface FolderOptions {
  readonly folder: string
  readonly signer: Signer
  /** Where the gateway serves the files, ending in a slash. */
  readonly path: string
  /** Seconds that a file is kept. */
  readonly keep: number
  /** Most bytes of all files together. */
  readonly maxBytes: number
}

/** Files that are being written end in this. The name of a stored one never does. */
const UNFINISHED = '.unfinished'

/** Has the identity of the folder. No access key's name begins with a tilde and goes on with a letter. */
const IDENTITY = '~identity'

/** An unfinished file of this age was left by a process that was killed, in ms. */
const ABANDONED_MS = 300_000

/** How often the store looks for old files, in ms. */
const SWEEP_MS = 60_000

/** Errors of a disk that has no room for another file. */
const NO_ROOM: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT'])

/**
 * Files in a folder, which the gateway itself serves. Several gateways may share it; each deletes what is old.
 *
 * What other gateways add counts towards `maxBytes` from the next sweep on.
 */
export class FolderStore implements ResultStore {
  readonly identity: string
  readonly #options: FolderOptions
  readonly #timer: NodeJS.Timeout
  #bytes = 0

  private constructor(options: FolderOptions, identity: string) {
    this.#options = options
    this.identity = identity
    this.#timer = setInterval(() => void this.sweep().catch(() => undefined), SWEEP_MS).unref()
  }

  /** Opens the folder, and makes it if it does not exist. @throws Error that names RESULTS when files cannot be written in it */
  static async open(options: FolderOptions): Promise<FolderStore> {
    const { folder } = options
    const identity = await useFolder(`RESULTS=file://${folder}`, async () => {
      await makeFolder(folder)
      await tryFolder(folder, UNFINISHED)
      return identify(folder)
    })
    const store = new FolderStore(options, identity)
    await store.sweep()
    return store
  }

  /** Bytes of all files, as far as this gateway knows. */
  get bytes(): number {
    return this.#bytes
  }

  async put(name: string, { bytes }: { bytes: Buffer }, signal: AbortSignal): Promise<void> {
    const { folder, maxBytes } = this.#options
    if (this.#bytes + bytes.length > maxBytes)
      throw full(`the results take ${this.#bytes} of RESULTS_DISK's ${maxBytes} bytes`)
    const target = join(folder, name)
    const fresh = `${target}.${randomUUID()}${UNFINISHED}`
    this.#bytes += bytes.length
    try {
      await makeFolder(dirname(target))
      await writeFile(fresh, bytes, { flag: 'wx', signal })
      const replaced = await sizeOf(target)
      await rename(fresh, target)
      this.#uncount(replaced)
    } catch (error) {
      this.#bytes -= bytes.length
      await unlink(fresh).catch(() => undefined)
      if (NO_ROOM.has((error as NodeJS.ErrnoException).code)) throw full('the disk for results is full', error)
      throw error
    }
  }

  async urlOf(name: string, seconds: number): Promise<string> {
    const { signer, path } = this.#options
    const { expires, signature } = signer.sign(name, Math.floor(Date.now() / 1000) + seconds)
    const escaped = name.split('/').map(encodeURIComponent).join('/')
    return `${path}${escaped}?expires=${expires}&signature=${signature}`
  }

  /** Opens a stored file whose signature was checked. Undefined if it does not exist, or no longer. */
  async read(name: string): Promise<{ handle: FileHandle; bytes: number } | undefined> {
    const handle = await open(join(this.#options.folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (isAbsent(error)) return undefined
      throw error
    })
    if (handle === undefined) return undefined
    try {
      return { handle, bytes: (await handle.stat()).size }
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  async get(name: string, most: number, signal: AbortSignal): Promise<Buffer | undefined> {
    const found = await this.read(name)
    return found && bytesOf(found.handle.createReadStream(), most, signal)
  }

  async delete(name: string): Promise<void> {
    const path = join(this.#options.folder, name)
    const bytes = await sizeOf(path)
    try {
      await unlink(path)
    } catch (error) {
      if (isAbsent(error)) return
      throw error
    }
    this.#uncount(bytes)
    // It fails while the folder has other files.
    await rmdir(dirname(path)).catch(() => undefined)
  }

  /** Deletes what is old, and counts the rest. */
  async sweep(): Promise<void> {
    this.#bytes = await this.#sweep(this.#options.folder, false)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** The file may be one of another gateway's that has not been counted here yet. */
  #uncount(bytes: number): void {
    this.#bytes = Math.max(0, this.#bytes - bytes)
  }

  /** @returns the bytes that remain in a folder */
  async #sweep(folder: string, removable: boolean): Promise<number> {
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
    let sum = 0
    for (const entry of entries) {
      if (entry.name === IDENTITY) continue
      const path = join(folder, entry.name)
      sum += entry.isDirectory() ? await this.#sweep(path, true) : await this.#sweepFile(path)
    }
    // A young folder may be one that a file is about to be written into. rmdir fails while a folder has files.
    if (removable && (await ageOf(folder)) > ABANDONED_MS) await rmdir(folder).catch(() => undefined)
    return sum
  }

  /** @returns the bytes of the file if it stays */
  async #sweepFile(path: string): Promise<number> {
    const { mtimeMs, size } = await stat(path).catch(() => ({ mtimeMs: Infinity, size: 0 }))
    const most = path.endsWith(UNFINISHED) ? ABANDONED_MS : this.#options.keep * 1000
    if (Date.now() - mtimeMs <= most) return size
    await unlink(path).catch(() => undefined)
    return 0
  }
}

/** The name that all gateways that share the folder find in it: the target of a link, which takes no room on a full disk. */
async function identify(folder: string): Promise<string> {
  const path = join(folder, IDENTITY)
  // Of several gateways that do so at once, one succeeds. A disk without links takes none.
  await symlink(randomUUID(), path).catch(() => undefined)
  return readlink(path).catch(() => createHash('sha256').update(folder).digest('hex'))
}

function isAbsent(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOENT' || code === 'ENOTDIR'
}

/** Bytes of a file; 0 if it does not exist. */
async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => ({ size: 0 }))).size
}

/** ms since a folder last got or lost an entry; 0 if it is gone. */
async function ageOf(folder: string): Promise<number> {
  const { mtimeMs } = await stat(folder).catch(() => ({ mtimeMs: Infinity }))
  return Math.max(0, Date.now() - mtimeMs)
}

/** `Retry-After` of a full disk: the next sweep may make room. */
const FULL_RETRY_SECONDS = 60

function full(message: string, cause?: unknown): EaselError {
  return new EaselError('STORAGE_FULL', message, { retryAfter: FULL_RETRY_SECONDS, ofAccepted: true, cause })
}
