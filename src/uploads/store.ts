import { createHash, randomUUID } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { EaselError } from '../errors.js'

export interface UploadStoreOptions {
  /** The folder for files; it must exist. */
  readonly folder: string
  /** Most files at a time, up to MAX_FILES. Each takes a descriptor. */
  readonly maxFiles: number
  /** Most bytes of one file. */
  readonly maxFileBytes: number
  /** Most bytes of all files together. */
  readonly maxBytes: number
  readonly observer: UploadObserver
}

export interface UploadObserver {
  /** Bytes of a picture's file were received. */
  pictureBytes: (bytes: number) => void
}

/** A whole file that a client sent. */
export interface Upload {
  /** The request's field. */
  readonly field: string
  readonly bytes: number
  /** In lower-case hex. */
  readonly sha256: string
  /** Reads the whole file. @throws EaselError STORAGE_FULL when the disk fails */
  readonly read: () => Promise<Buffer>
}

/** The most files that a store needs: two of each of 64 requests, or five of each of 25. */
export const MAX_FILES = 128

/** `Retry-After` when other files take all the room. A file may take RECEIVE_TIMEOUT, but most take far less. */
const RETRY_SECONDS = 2

/**
 * Keeps clients' pictures on the disk and not in memory, from their first byte until their request has used them.
 *
 * A file has no name: it is unlinked as soon as it is open. So it is gone when the process ends, however it ends, and
 * nobody else can open it.
 */
export class UploadStore {
  readonly #options: UploadStoreOptions
  #files = 0
  #bytes = 0

  constructor(options: UploadStoreOptions) {
    this.#options = options
  }

  get files(): number {
    return this.#files
  }

  /** Bytes of all files. */
  get bytes(): number {
    return this.#bytes
  }

  get maxBytes(): number {
    return this.#options.maxBytes
  }

  get maxFileBytes(): number {
    return this.#options.maxFileBytes
  }

  /** Uploads of one request. Call `close` when they are no longer needed, also after an error. */
  open(): Uploads {
    return new Uploads(this, this.#options)
  }

  /** @throws EaselError MEMORY_FULL */
  addFile(field: string): void {
    if (this.#files >= this.#options.maxFiles) throw full(field)
    this.#files += 1
  }

  /** @throws EaselError MEMORY_FULL */
  addBytes(field: string, bytes: number): void {
    if (this.#bytes + bytes > this.#options.maxBytes) throw full(field)
    this.#bytes += bytes
    this.#options.observer.pictureBytes(bytes)
  }

  /** A file and its bytes are gone. */
  remove(bytes: number): void {
    this.#files -= 1
    this.#bytes -= bytes
  }
}

function full(field: string): EaselError {
  return new EaselError('MEMORY_FULL', "other requests' pictures fill the room for pictures on the disk", {
    field,
    retryAfter: RETRY_SECONDS
  })
}

/** The files of one request. */
export class Uploads {
  readonly #store: UploadStore
  readonly #options: UploadStoreOptions
  /** Fields whose file is here, or arriving. */
  readonly #fields = new Set<string>()
  readonly #kept = new Map<string, Upload & { readonly file: StoredFile }>()
  #closed = false
  #keepers = 1

  constructor(store: UploadStore, options: UploadStoreOptions) {
    this.#store = store
    this.#options = options
  }

  get(field: string): Upload | undefined {
    return this.#kept.get(field)
  }

  /** All files, in the order in which they came. */
  get all(): readonly Upload[] {
    return [...this.#kept.values()]
  }

  /** A file by what is in it. */
  withDigest(sha256: string): Upload | undefined {
    return [...this.#kept.values()].find((upload) => upload.sha256 === sha256)
  }

  /**
   * Receives a file.
   *
   * @throws EaselError BODY_TOO_LARGE, INVALID_REQUEST (a second file for a field, or an empty one), MEMORY_FULL,
   * STORAGE_FULL; what `chunks` throws
   */
  async take(field: string, chunks: AsyncIterable<Buffer>): Promise<Upload> {
    if (this.#fields.has(field))
      throw new EaselError('INVALID_REQUEST', `${field} is given more than once: send one picture`, { field })
    this.#fields.add(field)
    try {
      return await this.#receive(field, chunks)
    } catch (error) {
      this.#fields.delete(field)
      throw error
    }
  }

  async #receive(field: string, chunks: AsyncIterable<Buffer>): Promise<Upload> {
    const { folder, maxFileBytes } = this.#options
    const file = await StoredFile.open(field, folder, this.#store)
    try {
      const hash = createHash('sha256')
      for await (const chunk of chunks) {
        if (file.bytes + chunk.length > maxFileBytes)
          throw new EaselError('BODY_TOO_LARGE', `${field} must be at most ${maxFileBytes} bytes`, { field })
        hash.update(chunk)
        await file.append(chunk)
      }
      if (file.bytes === 0) throw new EaselError('INVALID_REQUEST', `${field} is empty: send a picture`, { field })
      if (this.#closed) throw new EaselError('CANCELLED', 'the client disconnected while sending a picture')
      const upload = { field, bytes: file.bytes, sha256: hash.digest('hex'), read: () => file.read(), file }
      this.#kept.set(field, upload)
      return upload
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Keeps the files until the returned function is called, also after `close`. */
  keep(): () => void {
    this.#keepers += 1
    let done = false
    return () => {
      if (!done) this.#letGo()
      done = true
    }
  }

  /** Frees the files, once nobody else keeps them. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#letGo()
  }

  #letGo(): void {
    this.#keepers -= 1
    if (this.#keepers > 0) return
    for (const { file } of this.#kept.values()) void file.close()
    this.#kept.clear()
  }
}

/** An open file without a name. */
class StoredFile {
  bytes = 0
  readonly #field: string
  readonly #handle: FileHandle
  readonly #store: UploadStore
  #reading = 0
  #closed = false

  private constructor(field: string, handle: FileHandle, store: UploadStore) {
    this.#field = field
    this.#handle = handle
    this.#store = store
  }

  static async open(field: string, folder: string, store: UploadStore): Promise<StoredFile> {
    store.addFile(field)
    try {
      return await onDisk(field, async () => {
        const path = join(folder, `easel-picture-${randomUUID()}`)
        const handle = await open(path, 'wx+', 0o600)
        try {
          await unlink(path)
        } catch (error) {
          await handle.close()
          throw error
        }
        return new StoredFile(field, handle, store)
      })
    } catch (error) {
      store.remove(0)
      throw error
    }
  }

  async append(chunk: Buffer): Promise<void> {
    this.#store.addBytes(this.#field, chunk.length)
    this.bytes += chunk.length
    // writeFile goes on after a short write.
    await onDisk(this.#field, () => this.#handle.writeFile(chunk))
  }

  async read(): Promise<Buffer> {
    if (this.#closed) throw new EaselError('CANCELLED')
    this.#reading += 1
    try {
      return await onDisk(this.#field, async () => {
        const whole = Buffer.allocUnsafe(this.bytes)
        for (let at = 0; at < whole.length;) {
          const { bytesRead } = await this.#handle.read(whole, at, whole.length - at, at)
          if (bytesRead === 0) throw new Error('the file of a picture has become shorter')
          at += bytesRead
        }
        return whole
      })
    } finally {
      this.#reading -= 1
      if (this.#closed && this.#reading === 0) await this.#end()
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#reading === 0) await this.#end()
  }

  async #end(): Promise<void> {
    // A failed close has freed the descriptor all the same.
    await this.#handle.close().catch(() => undefined)
    this.#store.remove(this.bytes)
  }
}

/** @throws EaselError STORAGE_FULL instead of an error of the disk */
async function onDisk<T>(field: string, use: () => Promise<T>): Promise<T> {
  try {
    return await use()
  } catch (cause) {
    throw new EaselError('STORAGE_FULL', `${field}: ${storageText((cause as NodeJS.ErrnoException).code)}`, {
      field,
      cause
    })
  }
}

/** Tells the client no paths. */
function storageText(code: string | undefined): string {
  if (code === 'ENOSPC' || code === 'EDQUOT') return "the server's disk for pictures is full"
  return `the server cannot keep pictures on its disk${code === undefined ? '' : ` (${code})`}`
}
