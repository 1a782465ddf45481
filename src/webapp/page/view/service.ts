import type { Client } from '../api/client.js'
import { ServerError } from '../api/errors.js'
import type { Health } from '../api/types.js'
import { byId } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'

interface Events {
  health: Health
  /** The server wants an access key. */
  locked: undefined
}

const READY_MS = 20_000
const WAITING_MS = 2000

const STATES: Readonly<Record<Health['status'], string>> = {
  ready: 'Ready',
  starting: 'Loading the model …',
  unavailable: 'The painter is away for a moment',
  draining: 'Being restarted'
}

/** How the server is, asked again and again while the page is looked at. */
export class Service extends Emitter<Events> {
  readonly #line = byId('service', HTMLParagraphElement)
  readonly #text = byId('service-text', HTMLSpanElement)
  readonly #client: Client
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(client: Client) {
    super()
    this.#client = client
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) clearTimeout(this.#timer)
      else void this.ask()
    })
  }

  async ask(): Promise<void> {
    clearTimeout(this.#timer)
    const state = await this.#once()
    clearTimeout(this.#timer)
    if (!document.hidden) this.#timer = setTimeout(() => void this.ask(), state === 'ready' ? READY_MS : WAITING_MS)
  }

  async #once(): Promise<string> {
    try {
      const health = await this.#client.health()
      this.emit('health', health)
      return this.#show(health.status, describe(health))
    } catch (error) {
      if (!(error instanceof ServerError) || error.body.statusCode !== 401) return this.#show('unreachable', 'The server cannot be reached')
      this.emit('locked', undefined)
      return this.#show('locked', 'An access key is needed')
    }
  }

  #show(state: string, text: string): string {
    this.#line.dataset['state'] = state
    if (this.#text.textContent !== text) this.#text.textContent = text
    return state
  }
}

function describe({ status, model, requests }: Health): string {
  if (status !== 'ready') return STATES[status] ?? status
  const waiting = requests.queued > 0 ? ` · ${requests.queued} in line` : ''
  return `${STATES.ready} · ${model?.id ?? 'no model'}${waiting}`
}
