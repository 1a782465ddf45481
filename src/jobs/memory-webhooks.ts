import type { Busy, JobName, JobState, JobWebhook, JobWebhooks, Telling } from './store.js'

interface Waiting {
  readonly name: JobName
  readonly webhook: JobWebhook
  /** In ms since 1970. */
  readonly forgottenAt: number
  readonly state: () => JobState
  due: number
  failures: number
  token: string | undefined
}

/** The ends to tell of the jobs in memory. */
export class MemoryWebhooks implements JobWebhooks {
  /** By the job's key. */
  readonly #waiting = new Map<string, Waiting>()

  get waiting(): number {
    return this.#waiting.size
  }

  add(key: string, told: Pick<Waiting, 'name' | 'webhook' | 'forgottenAt' | 'state'>): void {
    this.#waiting.set(key, { ...told, due: Date.now(), failures: 0, token: undefined })
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
    const { name, webhook, failures, forgottenAt } = next
    return { name, token, webhook, failures, remaining: forgottenAt - now, state: next.state() }
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

function isBusy({ name: { scope }, webhook: { host } }: Waiting, { scopes, hosts }: Busy): boolean {
  return scopes.includes(scope) || hosts.some((busy) => busy.scope === scope && busy.host === host)
}
