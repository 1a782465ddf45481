import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { EaselError } from '../errors.js'
import type { Log } from '../logger.js'
import type { Message, Sent } from '../webhooks/sender.js'
import type { JobStore } from './store.js'
import type { Busy, Telling, Told, Webhook } from './webhooks.js'
import { Repeater } from '../repeater.js'
import { untilDone } from '../until-done.js'

export interface AnnouncerOptions {
  store: JobStore
  rules: {
    allows: (url: URL, scope: string) => boolean
    secretsOf: (scope: string) => readonly Buffer[]
  }
  sender: { send: (message: Message, stop: AbortSignal) => Promise<Sent> }
  /** What a webhook says of what has ended. May throw where images of it are elsewhere. */
  bodyOf: (told: Told, webhook: Webhook) => Promise<string>
  log: Log
  observer: AnnouncerObserver
  /** ms before each attempt after the first */
  delays?: readonly number[]
  /** ms after which another gateway sends what this one has begun; longer than an attempt takes */
  lease?: number
}

export interface AnnouncerObserver {
  /** A webhook was sent, or not: `retried` if it is sent again, `given_up` if never. */
  announced: (outcome: 'delivered' | 'retried' | 'gone' | 'given_up', seconds: number) => void
}

const [SECOND, MINUTE, HOUR] = [1000, 60_000, 3_600_000]

/** @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#deliverability-and-reliability */
export const DELAYS = [
  5 * SECOND,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  24 * HOUR
] as const

/** How much later an attempt may be than its delay says, so that those of a host that was away do not come together. */
const JITTER = 0.2
/** Twice what an attempt may take. */
const LEASE_MS = 30_000
/** ms between two looks for what is due. */
const LOOK_MS = 1000
/** ms after which the store is told again what it could not be told. */
const AGAIN_MS = 1000

/** Most webhooks being sent, and most of those to one host, and of one key where there are keys. */
const MOST = 32
const MOST_OF_HOST = 4
const MOST_OF_KEY = 16

/** Tells the ends of jobs and batches to their webhooks, of whichever gateway they are. */
export class JobAnnouncer {
  readonly #options: Required<AnnouncerOptions>
  readonly #sending = new Set<Telling>()
  readonly #closing = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #looking = new Repeater(() => this.#look())

  constructor(options: AnnouncerOptions) {
    this.#options = { delays: DELAYS, lease: LEASE_MS, ...options }
    this.#timer = setInterval(() => this.wake(), LOOK_MS)
    this.#timer.unref()
  }

  /** Sends what is due. Call it when something may have come. */
  wake(): void {
    if (this.#closing.signal.aborted) return
    this.#looking.ask()
  }

  /** Begins nothing more, gives what is being sent this time, and leaves the rest to other gateways. */
  async close(graceMs: number): Promise<void> {
    clearInterval(this.#timer)
    const end = performance.now() + graceMs
    while (this.#sending.size > 0 && performance.now() < end) await sleep(5)
    this.#closing.abort()
    await this.#looking.rest()
    while (this.#sending.size > 0) await sleep(5)
  }

  async #look(): Promise<void> {
    const { store, lease } = this.#options
    try {
      while (this.#sending.size < MOST && !this.#closing.signal.aborted) {
        const telling = await store.webhooks.claim(randomUUID(), lease, this.#busy())
        if (telling === undefined) break
        this.#sending.add(telling)
        void this.#tell(telling)
      }
    } catch (error) {
      this.#unlessAway(error)
    }
  }

  #busy(): Busy {
    const scopes = new Map<string, number>()
    const hosts = new Map<string, { scope: string; host: string; count: number }>()
    for (const { name, webhook } of this.#sending) {
      const { scope } = name
      const { host } = webhook
      scopes.set(scope, (scopes.get(scope) ?? 0) + 1)
      const key = `${scope}|${host}`
      hosts.set(key, { scope, host, count: (hosts.get(key)?.count ?? 0) + 1 })
    }
    return {
      scopes: [...scopes].filter(([scope, count]) => scope !== '' && count >= MOST_OF_KEY).map(([scope]) => scope),
      hosts: [...hosts.values()]
        .filter(({ count }) => count >= MOST_OF_HOST)
        .map(({ scope, host }) => ({ scope, host }))
    }
  }

  /** Never throws. */
  async #tell(telling: Telling): Promise<void> {
    try {
      await this.#settle(telling, await this.#attempt(telling))
    } catch (error) {
      this.#unlessAway(error)
    } finally {
      this.#sending.delete(telling)
      this.wake()
    }
  }

  /** @returns when to send it again, in ms */
  async #attempt(telling: Telling): Promise<{ again: number | undefined; failures: number }> {
    const { observer, log } = this.#options
    const { kind, name, webhook, failures } = telling
    const url = new URL(webhook.url)
    // Of the address only the origin: its path and query may be secrets.
    const fields = {
      [kind === 'job' ? 'job' : name.kind]: name.id,
      ...(name.scope === '' ? {} : { key: name.scope }),
      to: url.origin
    }
    const started = performance.now()
    const sent = await this.#send(telling, url)
    const seconds = (performance.now() - started) / 1000
    if (sent.how !== 'failed') {
      observer.announced(sent.how, seconds)
      log.info(
        { ...fields, attempts: failures + 1 },
        `a webhook was ${sent.how === 'gone' ? 'refused for good (410)' : 'delivered'}`
      )
      return { again: undefined, failures }
    }
    // This gateway ended the attempt itself.
    if (this.#closing.signal.aborted) return { again: 0, failures }
    const again = this.#delayOf(failures, sent.retryAfter)
    const ends = again === undefined || again >= telling.remaining - seconds * 1000
    observer.announced(ends ? 'given_up' : 'retried', seconds)
    log.warn(
      { ...fields, attempts: failures + 1, why: sent.why },
      ends
        ? 'a webhook was given up: its last attempt failed'
        : `a webhook failed, and is sent again in ${Math.round(again / 1000)} s`
    )
    return { again: ends ? undefined : again, failures: failures + 1 }
  }

  async #send(telling: Telling, url: URL): Promise<Sent> {
    const { rules, sender, bodyOf } = this.#options
    const { name, webhook } = telling
    // By the key file as it is here and now: another gateway may have read it sooner, or later.
    if (!rules.allows(url, name.scope)) return notSent('its host is not allowed (any more)')
    let body: string
    try {
      body = await bodyOf(telling, webhook)
    } catch (error) {
      return notSent(`there are no URLs of its images: ${error instanceof EaselError ? error.code : String(error)}`)
    }
    const secrets = rules.secretsOf(name.scope)
    return sender.send({ id: webhook.id, url, body, secrets }, this.#closing.signal)
  }

  /** ms until the next attempt; undefined if there is none. */
  #delayOf(failures: number, retryAfter: number): number | undefined {
    const delay = this.#options.delays[failures]
    return delay === undefined ? undefined : Math.max(delay * (1 + JITTER * Math.random()), retryAfter)
  }

  /** Tells the store what became of it, again and again, until it is another gateway's. */
  async #settle(telling: Telling, { again, failures }: { again: number | undefined; failures: number }): Promise<void> {
    const { store, lease } = this.#options
    const end = performance.now() + lease
    const stop = this.#closing.signal
    const failed = (error: unknown) => {
      if (stop.aborted || performance.now() >= end) throw error
      this.#unlessAway(error)
    }
    await untilDone(() => store.webhooks.settle(telling, again, failures), { pause: AGAIN_MS, stop, failed })
  }

  /** Logs what the store does not report itself. */
  #unlessAway(error: unknown): void {
    if (error instanceof EaselError && error.code === 'JOB_STORE_UNAVAILABLE') return
    this.#options.log.error({ err: error }, 'a webhook could not be looked after')
  }
}

function notSent(why: string): Sent {
  return { how: 'failed', why, retryAfter: 0 }
}
