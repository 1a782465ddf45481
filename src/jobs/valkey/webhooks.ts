import type { Busy, JobWebhook, JobWebhooks, Telling } from '../store.js'
import type { ValkeyConnection } from './connection.js'
import { keyOf, nameOf, stateOf } from './record.js'

/** The ends to tell of the jobs in a Valkey server. */
export class ValkeyWebhooks implements JobWebhooks {
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
    const told = await this.#connection.script('easelTell', token, lease, this.#keep, JSON.stringify(busy))
    if (told === null) return undefined
    const [key, webhook, failures, remaining, state] = told as [string, string, string, string, (string | null)[]]
    return {
      name: nameOf(key),
      token,
      webhook: JSON.parse(webhook) as JobWebhook,
      failures: Number(failures),
      remaining: Number(remaining),
      state: stateOf(state)!
    }
  }

  async settle({ name, token }: Telling, again: number | undefined, failures: number): Promise<void> {
    const when = again === undefined ? '' : Math.ceil(again)
    await this.#connection.script('easelTold', keyOf(name), token, when, failures)
  }
}
