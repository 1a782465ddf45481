import { tooManyOpen } from './full.js'
import type { MemoryWebhooks } from './memory-webhooks.js'
import {
  HIDDEN_MS,
  isClaim,
  MOST_OPEN,
  type NewRecord,
  type Page,
  PART_BYTES,
  recordBytes,
  type RecordClaim,
  type RecordCounts,
  type RecordKind,
  type RecordName,
  type Records,
  type RecordState
} from './records.js'
import type { Told, Webhook } from './webhooks.js'

interface Parts {
  /** ms */
  lease: number
  /** @throws EaselError JOBS_FULL */
  refuseUnlessFits: (scope: string, bytes: number) => void
  /** Counts bytes that came or went. */
  count: (scope: string, bytes: number) => void
  webhooks: MemoryWebhooks
}

interface Stored {
  readonly name: RecordName
  readonly createdAt: number
  readonly webhook: Webhook | undefined
  readonly parts: Map<string, Buffer>
  doc: string
  expiresAt: number
  shown: boolean
  open: boolean
  /** Until when its claim is valid, in ms. */
  lease: number
  attempt: number
  cancelledAt: number | undefined
  /** Of its parts, with PART_BYTES for each. */
  partBytes: number
  bytes: number
}

/** The records of a store in this process. */
export class MemoryRecords implements Records {
  readonly #with: Parts
  /** In the order of their creation. */
  readonly #records = new Map<string, Stored>()

  constructor(parts: Parts) {
    this.#with = parts
  }

  get counts(): RecordCounts {
    const all = [...this.#records.values()]
    return { open: all.filter(({ open }) => open).length, all: all.length }
  }

  async create(record: NewRecord): Promise<{ state: RecordState; fresh: boolean }> {
    const { name, doc, ttl, as, always = false, webhook } = record
    const known = this.#records.get(keyOf(name))
    if (known !== undefined) return { state: stateOf(known), fresh: false }
    const bytes = recordBytes(doc, webhook)
    if (!always) this.#with.refuseUnlessFits(name.scope, bytes)
    if (as === 'open' && this.#openOf(name.scope) >= MOST_OPEN) throw tooManyOpen()
    const createdAt = Date.now()
    const stored: Stored = {
      name,
      createdAt,
      webhook,
      parts: new Map(),
      doc,
      expiresAt: createdAt + ttl,
      shown: as !== 'hidden',
      open: as === 'open',
      lease: 0,
      attempt: 0,
      cancelledAt: undefined,
      partBytes: 0,
      bytes: 0
    }
    this.#records.set(keyOf(name), stored)
    this.#count(stored)
    return { state: stateOf(stored), fresh: true }
  }

  async write(of: RecordName | RecordClaim, parts: ReadonlyMap<string, Buffer>): Promise<boolean> {
    const stored = isClaim(of) ? this.#claimed(of) : this.#records.get(keyOf(of))
    if (stored === undefined) return false
    const more = [...parts].reduce((sum, [part, bytes]) => {
      const before = stored.parts.get(part)
      return sum + bytes.length + (before === undefined ? PART_BYTES : -before.length)
    }, 0)
    this.#with.refuseUnlessFits(stored.name.scope, Math.max(0, more))
    for (const [part, bytes] of parts) stored.parts.set(part, bytes)
    stored.partBytes += more
    if (!stored.shown) stored.expiresAt = Date.now() + HIDDEN_MS
    this.#count(stored)
    return true
  }

  async publish(name: RecordName, doc: string, ttl: number): Promise<RecordState | undefined> {
    const stored = this.#records.get(keyOf(name))
    if (stored === undefined) return undefined
    stored.doc = doc
    stored.expiresAt = stored.createdAt + ttl
    stored.shown = true
    this.#count(stored)
    return stateOf(stored)
  }

  async read(name: RecordName, part: string): Promise<Buffer | undefined> {
    return this.#records.get(keyOf(name))?.parts.get(part)
  }

  async find(name: RecordName): Promise<RecordState | undefined> {
    const stored = this.#records.get(keyOf(name))
    return stored?.shown === true ? stateOf(stored) : undefined
  }

  async list(
    kind: RecordKind,
    scope: string,
    { after, limit, newestFirst }: Page
  ): Promise<readonly RecordState[] | undefined> {
    const all = [...this.#records.values()].filter(
      (stored) => stored.shown && stored.name.kind === kind && stored.name.scope === scope
    )
    if (newestFirst) all.reverse()
    const at = after === undefined ? -1 : all.findIndex(({ name }) => name.id === after)
    if (after !== undefined && at === -1) return undefined
    return all.slice(at + 1, at + 1 + limit).map(stateOf)
  }

  async remove(name: RecordName): Promise<boolean> {
    const stored = this.#records.get(keyOf(name))
    if (stored === undefined || stored.open) return false
    this.#drop(stored)
    return true
  }

  async cancel(name: RecordName): Promise<RecordState | undefined> {
    const stored = this.#records.get(keyOf(name))
    if (stored?.open === true) stored.cancelledAt ??= Date.now()
    return stored?.shown === true ? stateOf(stored) : undefined
  }

  async claim(busy: readonly string[]): Promise<RecordClaim | undefined> {
    const now = Date.now()
    const open = [...this.#records.values()].filter((stored) => stored.open)
    const taken = new Map<string, number>()
    for (const { name, lease } of open) if (lease > now) taken.set(name.scope, (taken.get(name.scope) ?? 0) + 1)
    const [stored] = open
      .filter(({ name, lease }) => lease <= now && !busy.includes(name.scope))
      .toSorted((a, b) => (taken.get(a.name.scope) ?? 0) - (taken.get(b.name.scope) ?? 0))
    if (stored === undefined) return undefined
    stored.attempt += 1
    stored.lease = now + this.#with.lease
    return { name: stored.name, attempt: stored.attempt, state: stateOf(stored) }
  }

  async update(claim: RecordClaim, doc: string, closed?: number): Promise<RecordState | undefined> {
    const stored = this.#claimed(claim)
    if (stored === undefined) return undefined
    const now = Date.now()
    stored.doc = doc
    stored.lease = now + this.#with.lease
    if (closed !== undefined) {
      stored.open = false
      stored.expiresAt = now + closed
      this.#tell(stored)
    }
    this.#count(stored)
    return stateOf(stored)
  }

  async release(claim: RecordClaim): Promise<void> {
    const stored = this.#claimed(claim)
    if (stored === undefined) return
    stored.lease = 0
    stored.attempt += 1
  }

  async tend(): Promise<void> {
    const now = Date.now()
    for (const stored of this.#records.values()) if (now >= stored.expiresAt) this.#drop(stored)
  }

  #claimed({ name, attempt }: RecordClaim): Stored | undefined {
    const stored = this.#records.get(keyOf(name))
    return stored?.open === true && stored.attempt === attempt ? stored : undefined
  }

  #openOf(scope: string): number {
    return [...this.#records.values()].filter(({ name, open }) => open && name.scope === scope).length
  }

  #count(stored: Stored): void {
    const bytes = recordBytes(stored.doc, stored.webhook) + stored.partBytes
    this.#with.count(stored.name.scope, bytes - stored.bytes)
    stored.bytes = bytes
  }

  #tell(stored: Stored): void {
    const { name, webhook, expiresAt: forgottenAt } = stored
    if (webhook === undefined) return
    const told = (): Told => ({ kind: 'record', name, state: stateOf(stored) })
    this.#with.webhooks.add(keyOf(name), { scope: name.scope, webhook, forgottenAt, told })
  }

  #drop(stored: Stored): void {
    this.#records.delete(keyOf(stored.name))
    this.#with.webhooks.drop(keyOf(stored.name))
    this.#with.count(stored.name.scope, -stored.bytes)
  }
}

/** Not the key of any job, which has one slash. */
function keyOf({ kind, scope, id }: RecordName): string {
  return `${kind}/${scope}/${id}`
}

function stateOf({ name, doc, createdAt, expiresAt, cancelledAt }: Stored): RecordState {
  return { name, doc, createdAt, expiresAt, cancelledAt }
}
