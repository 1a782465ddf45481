import type { Busy, Telling, Told, Webhook, Webhooks } from './webhooks.js'

interface Waiting {
  readonly scope: string
  readonly webhook: Webhook
  /** In ms since 1970. */
  readonly forgottenAt: number
  readonly told: () => Told
  due: number
  failures: number
  token: string | undefined
}

/** The ends to tell of the jobs and records in memory. */
export class MemoryWebhooks implements Webhooks {
  /** By the key of what has ended. */
  readonly #waiting = new Map<string, Waiting>()

  get waiting(): number {
    return this.#waiting.size
  }

  add(key: string, end: Pick<Waiting, 'scope' | 'webhook' | 'forgottenAt' | 'told'>): void {
    this.#waiting.set(key, { ...end, due: Date.now(), failures: 0, token: undefined })
  }

  drop(key: string): void {
    this.#waiting.delete(key)
  }

  async claim(token: string, lease: number, busy: Busy): Promise<Telling | undefined> {
    const now = Date.now()
    let next: Waiting | undefined
    for (const each of this.#waiting.values())
      if (each.due <= now && each.due < (next?.due ?? Infinity) && !isBusy(each, busy)) next = each
    if (next === undefined) return undefined
    next.due = now + lease
    next.token = token
    const { webhook, failures, forgottenAt } = next
    return { ...next.told(), token, webhook, failures, remaining: forgottenAt - now }
  }

  async settle({ token }: Telling, again: number | undefined, failures: number): Promise<void> {
    for (const [key, each] of this.#waiting) {
      if (each.token !== token) continue
      if (again === undefined) this.#waiting.delete(key)
      else Object.assign(each, { due: Date.now() + again, failures, token: undefined })
      return
    }
  }
}

function isBusy({ scope, webhook: { host } }: Waiting, { scopes, hosts }: Busy): boolean {
  return scopes.includes(scope) || hosts.some((busy) => busy.scope === scope && busy.host === host)
}
