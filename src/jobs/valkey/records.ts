import { jobsFull, tooManyOpen } from '../full.js'
import {
  HIDDEN_MS,
  isClaim,
  MOST_OPEN,
  type NewRecord,
  NO_RECORDS,
  type Page,
  type RecordClaim,
  type RecordCounts,
  type RecordKind,
  type RecordName,
  type Records,
  type RecordState
} from '../records.js'
import { type JobBounds, shareOf } from '../store.js'
import { webhookText } from '../webhooks.js'
import type { ValkeyConnection } from './connection.js'

/** In the order of `state` in the scripts. */
const FIELDS = ['shown', 'doc', 'made', 'due', 'cancel']
type Fields = readonly (string | null)[]

/** Records that one `tend` forgets at most. */
const MOST_AT_ONCE = 100

/** The records of a store in a Valkey server. */
export class ValkeyRecords implements Records {
  readonly #connection: ValkeyConnection
  readonly #bounds: JobBounds
  readonly #replicas: number
  #counts: RecordCounts = NO_RECORDS

  constructor(connection: ValkeyConnection, { bounds, replicas }: { bounds: JobBounds; replicas: number }) {
    this.#connection = connection
    this.#bounds = bounds
    this.#replicas = replicas
  }

  get counts(): RecordCounts {
    return this.#counts
  }

  async create(record: NewRecord): Promise<{ state: RecordState; fresh: boolean }> {
    const { name, doc, ttl, as, always = false, webhook } = record
    const { scope } = name
    const { bytes } = this.#bounds
    const [result, fields] = (await this.#connection.script(
      always ? 'easelRecordPut' : 'easelRecordCreate',
      keyOf(name),
      scope,
      listOf(name.kind, scope),
      doc,
      Math.ceil(ttl),
      as,
      ...(always ? ['', ''] : [bytes, shareOf(bytes, scope)]),
      MOST_OPEN,
      webhookText(webhook),
      webhook?.host ?? ''
    )) as [string, Fields]
    if (result === 'full') throw jobsFull('bytes', scope)
    if (result === 'many') throw tooManyOpen()
    await this.#connection.replicated(this.#replicas)
    return { state: stateOf(name, fields), fresh: result === 'new' }
  }

  async write(of: RecordName | RecordClaim, parts: ReadonlyMap<string, Buffer>): Promise<boolean> {
    const name = isClaim(of) ? of.name : of
    const { bytes } = this.#bounds
    const result = await this.#connection.script(
      'easelRecordWrite',
      keyOf(name),
      isClaim(of) ? of.attempt : '',
      HIDDEN_MS,
      bytes,
      shareOf(bytes, name.scope),
      ...[...parts].flat()
    )
    if (result === 'full') throw jobsFull('bytes', name.scope)
    return result === 'ok'
  }

  async publish(name: RecordName, doc: string, ttl: number): Promise<RecordState | undefined> {
    const fields = await this.#connection.script('easelRecordPublish', keyOf(name), doc, Math.ceil(ttl))
    await this.#connection.replicated(this.#replicas)
    return fields === null ? undefined : stateOf(name, fields as Fields)
  }

  async read(name: RecordName, part: string): Promise<Buffer | undefined> {
    return (await this.#connection.bytes(`dat:${keyOf(name)}`, part)) ?? undefined
  }

  async find(name: RecordName): Promise<RecordState | undefined> {
    const fields = await this.#connection.fields(`rec:${keyOf(name)}`, FIELDS)
    return fields[0] === null ? undefined : stateOf(name, fields)
  }

  async list(
    kind: RecordKind,
    scope: string,
    { after, limit, newestFirst }: Page
  ): Promise<readonly RecordState[] | undefined> {
    const found = await this.#connection.script(
      'easelRecordList',
      listOf(kind, scope),
      after === undefined ? '' : keyOf({ kind, scope, id: after }),
      limit,
      newestFirst ? 1 : 0
    )
    if (found === null) return undefined
    return (found as [string, Fields][]).map(([key, fields]) => stateOf(nameOf(key), fields))
  }

  async remove(name: RecordName): Promise<boolean> {
    return (await this.#connection.script('easelRecordRemove', keyOf(name))) === 1
  }

  async cancel(name: RecordName): Promise<RecordState | undefined> {
    const fields = await this.#connection.script('easelRecordCancel', keyOf(name))
    await this.#connection.replicated(this.#replicas)
    return fields === null ? undefined : stateOf(name, fields as Fields)
  }

  async claim(busy: readonly string[]): Promise<RecordClaim | undefined> {
    const claimed = await this.#connection.script('easelRecordClaim', this.#bounds.lease, ...busy)
    if (claimed === null) return undefined
    const [key, attempt, fields] = claimed as [string, string, Fields]
    const name = nameOf(key)
    return { name, attempt: Number(attempt), state: stateOf(name, fields) }
  }

  async update({ name, attempt }: RecordClaim, doc: string, closed?: number): Promise<RecordState | undefined> {
    const fields = await this.#connection.script(
      'easelRecordUpdate',
      keyOf(name),
      attempt,
      doc,
      this.#bounds.lease,
      closed === undefined ? '' : Math.ceil(closed)
    )
    if (closed !== undefined) await this.#connection.replicated(this.#replicas)
    return fields === null ? undefined : stateOf(name, fields as Fields)
  }

  async release({ name, attempt }: RecordClaim): Promise<void> {
    await this.#connection.script('easelRecordRelease', keyOf(name), attempt)
  }

  async tend(): Promise<void> {
    const [open, all] = (await this.#connection.script('easelRecordTend', MOST_AT_ONCE)) as [number, number]
    this.#counts = { open, all }
  }
}

export function keyOf({ kind, scope, id }: RecordName): string {
  return `${listOf(kind, scope)}/${id}`
}

function listOf(kind: RecordKind, scope: string): string {
  return `${kind}/${scope}`
}

/** Scopes have no slash. */
export function nameOf(key: string): RecordName {
  const [kind, scope, id] = key.split('/') as [RecordKind, string, string]
  return { kind, scope, id }
}

export function stateOf(name: RecordName, [, doc, made, due, cancelled]: Fields): RecordState {
  return {
    name,
    doc: doc!,
    createdAt: Number(made),
    expiresAt: Number(due),
    cancelledAt: cancelled == null ? undefined : Number(cancelled)
  }
}
