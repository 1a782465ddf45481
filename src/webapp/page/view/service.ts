import type { Client } from '../api/client.js'
import { ServerError } from '../api/errors.js'
import type { Health } from '../api/types.js'
import { byId } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { duration } from '../lib/format.js'
import { healthOf } from '../model/offer.js'
import { Since } from '../model/since.js'

interface Events {
  /** The server's health for the chosen model; `since`: when its status began, in ms since 1970. */
  health: { health: Health; since: number }
  /** URL of its API documentation. */
  documents: URL | undefined
  /** The server requires an access key. */
  locked: undefined
}

const READY_MS = 20_000
const WAITING_MS = 2000
/** While the page is hidden: the visitor may be waiting in another tab. */
const HIDDEN_MS = 10_000

const MINUTE = 60

/** States in which no model is ready yet but one is expected. */
export const PREPARING: ReadonlySet<string> = new Set<Health['status']>(['starting', 'unavailable'])

const STATES: Readonly<Record<Health['status'], string>> = {
  ready: 'Ready',
  holding: 'No machine is running yet: requests wait for one …',
  starting: 'Preparing the model …',
  unavailable: 'The model is restarting …',
  draining: 'The server is restarting …'
}

/** Polls the server's status while the page is visible, or hidden but waiting for the server to be ready. */
export class Service extends Emitter<Events> {
  readonly #line = byId('service', HTMLParagraphElement)
  readonly #text = byId('service-text', HTMLSpanElement)
  readonly #client: Client
  readonly #since = new Since()
  #model: string | undefined
  #health: Health | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(client: Client) {
    super()
    this.#client = client
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) void this.ask()
    })
  }

  async ask(): Promise<void> {
    clearTimeout(this.#timer)
    const state = await this.#once()
    clearTimeout(this.#timer)
    if (document.hidden && !PREPARING.has(state)) return
    this.#timer = setTimeout(
      () => void this.ask(),
      state === 'ready' ? READY_MS : document.hidden ? HIDDEN_MS : WAITING_MS
    )
  }

  get model(): string | undefined {
    return this.#model
  }

  /** Chooses the model whose status is shown; undefined for the default. */
  choose(model: string | undefined): void {
    this.#model = model
    if (this.#health !== undefined) this.#tell(this.#health)
  }

  async #once(): Promise<string> {
    try {
      const { health, documents } = await this.#client.health()
      this.emit('documents', documents)
      this.#health = health
      this.#tell(health)
      return healthOf(health, this.#model).status
    } catch (error) {
      if (!(error instanceof ServerError) || error.body.statusCode !== 401)
        return this.#show('unreachable', 'Cannot reach the server')
      this.emit('locked', undefined)
      return this.#show('locked', 'Access key required')
    }
  }

  #tell(whole: Health): void {
    const health = healthOf(whole, this.#model)
    const since = this.#since.note(health, Date.now())
    this.#show(health.status, describe(health, (Date.now() - since) / 1000))
    this.emit('health', { health, since })
  }

  #show(state: string, text: string): string {
    this.#line.dataset['state'] = state
    if (this.#text.textContent !== text) this.#text.textContent = text
    return state
  }
}

/** @param seconds since the status began */
function describe({ status, model, requests, workers }: Health, seconds: number): string {
  if (PREPARING.has(status))
    return `${STATES[status]}${seconds < MINUTE ? '' : ` ${duration(Math.floor(seconds / MINUTE) * MINUTE)}`}`
  if (status !== 'ready') return STATES[status] ?? status
  return [
    STATES.ready,
    model?.id ?? 'no model',
    ...(requests.queued > 0 ? [`${requests.queued} queued`] : []),
    ...(workers.ready < workers.expected ? [`${workers.ready} of ${workers.expected} workers`] : [])
  ].join(' · ')
}
