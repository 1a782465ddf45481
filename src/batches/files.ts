import { randomBytes } from 'node:crypto'
import { EaselError } from '../errors.js'
import { fileNeverFits } from '../jobs/full.js'
import { HIDDEN_MS, type Page, type RecordName, type RecordState } from '../jobs/records.js'
import { type JobStore, shareOf } from '../jobs/store.js'
import { excerpt } from '../excerpt.js'

/** A file that a client sent: the requests of a batch, in parts `0`, `1`, ... */
export interface InputFile {
  readonly purpose: 'batch'
  readonly filename: string
  readonly bytes: number
  readonly parts: number
  /** Lines that are not blank. */
  readonly lines: number
}

/** A file that a batch made. Its content is read from the batch's jobs. */
export interface OutputFile {
  readonly purpose: 'batch_output'
  readonly filename: string
  readonly bytes: number
  /** The batch's id. */
  readonly batch: string
  readonly which: 'output' | 'error'
}

export type FileDoc = InputFile | OutputFile

export interface KeptFile {
  readonly name: RecordName
  readonly doc: FileDoc
  readonly createdAt: number
  readonly expiresAt: number
}

/** Most bytes of an input file, as in OpenAI's API. */
export const MAX_FILE_BYTES = 200_000_000

/** Bytes of a part of a file in the store, and in memory while it comes. */
export const CHUNK_BYTES = 256 * 1024

const [NEWLINE, SPACE] = [0x0a, 0x20]

/** Clients' files, in the job store and within its bounds. */
export class Files {
  readonly #store: JobStore

  constructor(store: JobStore) {
    this.#store = store
  }

  /** Receives a file of a caller. */
  receive(scope: string): FileUpload {
    return new FileUpload(this.#store, scope)
  }

  /** @throws EaselError NOT_FOUND */
  async get(scope: string, id: string): Promise<KeptFile> {
    const state = await this.#store.records.find({ kind: 'file', scope, id })
    if (state === undefined) throw noFile(id)
    return keptOf(state)
  }

  /**
   * @param purpose of the files to list; undefined for all
   * @throws EaselError INVALID_REQUEST when the page's `after` is gone
   */
  async list(
    scope: string,
    { limit, ...page }: Page,
    purpose: string | undefined
  ): Promise<{ files: readonly KeptFile[]; more: boolean }> {
    const files: KeptFile[] = []
    let { after } = page
    for (;;) {
      const states = await this.#store.records.list('file', scope, { ...page, after, limit: limit + 1 })
      if (states === undefined) throw goneAfter()
      files.push(...states.map(keptOf).filter(({ doc }) => purpose === undefined || doc.purpose === purpose))
      if (files.length > limit || states.length <= limit)
        return { files: files.slice(0, limit), more: files.length > limit }
      after = states.at(-1)!.name.id
    }
  }

  /** Forgets a file. False if there is none. */
  remove(name: RecordName): Promise<boolean> {
    return this.#store.records.remove(name)
  }

  /** The bytes of an input file, part by part. @throws EaselError NOT_FOUND if it goes away meanwhile */
  async *read({ name, doc }: { name: RecordName; doc: InputFile }): AsyncGenerator<Buffer> {
    for (let part = 0; part < doc.parts; part++) {
      const bytes = await this.#store.records.read(name, String(part))
      if (bytes === undefined) throw noFile(name.id)
      yield bytes
    }
  }
}

/** A file on its way into the store. Call `drop` unless `finish` has returned. */
export class FileUpload {
  readonly #store: JobStore
  readonly #name: RecordName
  #pending: Buffer[] = []
  #pendingBytes = 0
  #parts = 0
  #bytes = 0
  #lines = 0
  #inLine = false
  #begun = false

  constructor(store: JobStore, scope: string) {
    this.#store = store
    this.#name = { kind: 'file', scope, id: `file-${randomBytes(12).toString('hex')}` }
  }

  get id(): string {
    return this.#name.id
  }

  /** @throws EaselError BODY_TOO_LARGE, LIMIT_EXCEEDED, JOBS_FULL, JOB_STORE_UNAVAILABLE; what `chunks` throws */
  async take(chunks: AsyncIterable<Buffer>): Promise<void> {
    const { scope } = this.#name
    const most = shareOf(this.#store.bounds.bytes, scope)
    await this.#store.records.create({ name: this.#name, doc: '', ttl: HIDDEN_MS, as: 'hidden' })
    this.#begun = true
    for await (const chunk of chunks) {
      this.#bytes += chunk.length
      if (this.#bytes > MAX_FILE_BYTES)
        throw new EaselError('BODY_TOO_LARGE', `file must be at most ${MAX_FILE_BYTES} bytes`, { field: 'file' })
      if (this.#bytes > most) throw fileNeverFits(most)
      this.#count(chunk)
      // A chunk may be a part of a larger buffer.
      this.#pending.push(Buffer.from(chunk))
      this.#pendingBytes += chunk.length
      if (this.#pendingBytes >= CHUNK_BYTES) await this.#flush()
    }
    if (this.#inLine) this.#lines += 1
    if (this.#pendingBytes > 0) await this.#flush()
  }

  /**
   * Shows the file, which is whole.
   *
   * @param ttl ms for which it is kept
   */
  async finish(filename: string, ttl: number): Promise<KeptFile> {
    const doc: InputFile = {
      purpose: 'batch',
      filename,
      bytes: this.#bytes,
      parts: this.#parts,
      lines: this.#lines
    }
    const state = await this.#store.records.publish(this.#name, JSON.stringify(doc), ttl)
    if (state === undefined) throw tooSlow()
    return keptOf(state)
  }

  /** Forgets what came. What is left if the store does not answer goes away by itself. */
  async drop(): Promise<void> {
    this.#pending = []
    if (this.#begun) await this.#store.records.remove(this.#name).catch(() => undefined)
  }

  async #flush(): Promise<void> {
    const part = Buffer.concat(this.#pending)
    const written = await this.#store.records.write(this.#name, new Map([[String(this.#parts), part]]))
    if (!written) throw tooSlow()
    this.#parts += 1
    this.#pending = []
    this.#pendingBytes = 0
  }

  #count(chunk: Buffer): void {
    for (const byte of chunk) {
      if (byte === NEWLINE) {
        if (this.#inLine) this.#lines += 1
        this.#inLine = false
      } else if (byte > SPACE) this.#inLine = true
    }
  }
}

export function keptOf({ name, doc, createdAt, expiresAt }: RecordState): KeptFile {
  return { name, doc: JSON.parse(doc) as FileDoc, createdAt, expiresAt }
}

export function noFile(id: string): EaselError {
  return new EaselError('NOT_FOUND', `there is no file ${JSON.stringify(excerpt(id))}; GET /v1/files lists yours`)
}

/** A page was asked for that follows something which is no longer there. */
export function goneAfter(): EaselError {
  return new EaselError('INVALID_REQUEST', 'after must be the id of an item of the list: begin again without it', {
    field: 'after'
  })
}

function tooSlow(): EaselError {
  return new EaselError('REQUEST_TIMEOUT', 'the file came too slowly and was given up: send it again')
}
