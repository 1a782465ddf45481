import type { Busy, Telling, Webhook, Webhooks } from '../webhooks.js'
import type { ValkeyConnection } from './connection.js'
import { keyOf, nameOf, stateOf } from './record.js'
import { keyOf as recordKeyOf, nameOf as recordNameOf, stateOf as recordStateOf } from './records.js'

/** The ends to tell of the jobs and records in a Valkey server. */
export class ValkeyWebhooks implements Webhooks {
  /** Set by whoever looks at the counts. */
  waiting = 0
  readonly #connection: ValkeyConnection
  readonly #keep: number

  /** @param keep ms for which an ended job is kept */
  constructor(connection: ValkeyConnection, keep: number) {
    this.#connection = connection
    this.#keep = keep
  }

  async claim(token: string, lease: number, busy: Busy): Promise<Telling | undefined> {
    // There are far fewer records.
    const record = await this.#tell('easelRecordTell', token, lease, busy)
    if (record !== undefined) {
      const name = recordNameOf(record.key)
      return { ...record.telling, kind: 'record', name, state: recordStateOf(name, record.fields) }
    }
    const job = await this.#tell('easelTell', token, lease, busy)
    return job && { ...job.telling, kind: 'job', name: nameOf(job.key), state: stateOf(job.fields)! }
  }

  async settle({ kind, name, token }: Telling, again: number | undefined, failures: number): Promise<void> {
    const [script, key] =
      kind === 'job' ? (['easelTold', keyOf(name)] as const) : (['easelRecordTold', recordKeyOf(name)] as const)
    await this.#connection.script(script, key, token, again === undefined ? '' : Math.ceil(again), failures)
  }

  async #tell(script: 'easelTell' | 'easelRecordTell', token: string, lease: number, busy: Busy) {
    const told = await this.#connection.script(script, token, lease, JSON.stringify(busy), this.#keep)
    if (told === null) return undefined
    const [key, webhook, failures, remaining, fields] = told as [string, string, string, string, (string | null)[]]
    const telling = {
      token,
      webhook: JSON.parse(webhook) as Webhook,
      failures: Number(failures),
      remaining: Number(remaining)
    }
    return { key, telling, fields }
  }
}
