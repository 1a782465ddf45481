import { formData } from '../lib/form-data.js'
import type { ConditionList } from '../model/conditions.js'
import { NetworkError, ServerError, serverError } from './errors.js'
import { readSse } from './sse.js'
import type {
  ControlPreviewRequest,
  Files,
  GenerateRequest,
  Health,
  Lora,
  PromptCounts,
  Prompts,
  RecipeAnswer,
  ServerEvent
} from './types.js'

/** Provides the visitor's access key, if any. */
export interface Keys {
  get(): string | undefined
}

export interface Ticket {
  /** The request's id, chosen by the client. */
  id: string
  signal: AbortSignal
}

/** Waits before each attempt to resume a broken stream, in ms. */
const RESUME_AFTER_MS = [250, 1000, 2000, 4000]

/** Maximum wait, even if the server asks for a longer one. */
const MOST_WAIT_MS = 10_000

/** Errors with which this server cannot make the pictures but another can. */
const GOING = new Set(['DRAINING', 'NOT_READY'])

/** How often a request may move to another server. */
const MAX_MOVES = 5

const EVENTS = new Set(['queued', 'started', 'progress', 'preview', 'image', 'error', 'done'])

/** The server's API. URLs are relative to the page, so it works behind any proxy path. */
export class Client {
  readonly #keys: Keys

  constructor(keys: Keys) {
    this.#keys = keys
  }

  /**
   * Gets the server's status and the URL of its API documentation, if any.
   *
   * @throws NetworkError
   */
  async health(): Promise<{ health: Health; documents: URL | undefined }> {
    const response = await this.#send('health', {})
    // A server that is not ready answers 503 with the same body.
    if (!response.ok && response.status !== 503) throw await serverError(response)
    const health = (await response.json().catch(() => undefined)) as Health | undefined
    if (health?.sizes === undefined) throw new NetworkError(`health answered ${response.status}`)
    // Older gateways do not send these lists.
    return {
      health: { ...health, coming: health.coming ?? [], models: health.models ?? [] },
      documents: documentsOf(response)
    }
  }

  /**
   * Makes pictures and yields their events. Resumes a broken stream where it broke, and restarts on the next server if
   * this one shuts down.
   *
   * @throws ServerError before the request is accepted; NetworkError; the reason of `signal`
   */
  async *generate(
    request: GenerateRequest,
    ticket: Ticket,
    files: Files = {}
  ): AsyncGenerator<ServerEvent, void, undefined> {
    let accepted = false
    let lastEventId = ''
    let moves = 0
    for (let breaks = 0; ; breaks++) {
      let trouble: ServerError | NetworkError | undefined
      try {
        const response = await this.#openStream(request, files, ticket, lastEventId)
        accepted = true
        for await (const message of readSse(response)) {
          lastEventId = message.id
          breaks = 0
          const event = readEvent(message.event, message.data)
          if (event?.type === 'error' && GOING.has(event.code) && moves < MAX_MOVES) {
            // The next server starts a new run, from its first event.
            trouble = new ServerError(event)
            lastEventId = ''
            moves += 1
            break
          }
          if (event !== undefined) yield event
          if (event?.type === 'done' || event?.type === 'error') return
        }
      } catch (error) {
        if (ticket.signal.aborted) throw error
        // If the first attempt fails, the server may not know the request, so there is nothing to resume.
        const passes = error instanceof ServerError ? GOING.has(error.body.code) : true
        if (!accepted || !passes) throw error
        trouble = error instanceof ServerError || error instanceof NetworkError ? error : undefined
      }
      const wait = RESUME_AFTER_MS[breaks]
      if (wait === undefined) throw trouble ?? new NetworkError('the stream broke off')
      const refused = trouble instanceof ServerError && breaks > 0 ? (trouble.body.retry_after ?? 0) * 1000 : 0
      await pause(Math.min(Math.max(wait, refused), MOST_WAIT_MS), ticket.signal)
    }
  }

  async #openStream(
    request: GenerateRequest,
    files: Files,
    { id, signal }: Ticket,
    lastEventId: string
  ): Promise<ReadableStream<Uint8Array>> {
    const withFiles = Object.keys(files).length > 0
    const response = await this.#send('generate', {
      method: 'POST',
      headers: {
        accept: 'text/event-stream',
        'x-request-id': id,
        // The browser states the type of a form, with its boundary.
        ...(withFiles ? {} : { 'content-type': 'application/json' }),
        // With a key, the request outlives a broken stream for a while; sending the same key resumes it.
        'idempotency-key': id,
        ...(lastEventId === '' ? {} : { 'last-event-id': lastEventId })
      },
      body: withFiles ? formData(request, files) : JSON.stringify(request),
      signal
    })
    if (!response.ok) throw await serverError(response)
    if (response.body === null) throw new NetworkError('an answer without a body')
    return response.body
  }

  /** Cancels a request. Also works while the page unloads. */
  async cancel(id: string): Promise<void> {
    await this.#send(`requests/${id}`, { method: 'DELETE', keepalive: true }).catch(() => undefined)
  }

  /**
   * Reads the recipe embedded in a picture.
   *
   * @throws ServerError with code NO_RECIPE if it has none; NetworkError
   */
  async recipe(picture: Blob): Promise<RecipeAnswer> {
    const response = await this.#send('recipe', {
      method: 'POST',
      headers: { 'content-type': picture.type },
      body: picture
    })
    if (!response.ok) throw await serverError(response)
    return (await response.json()) as RecipeAnswer
  }

  /**
   * Counts the tokens of prompts.
   *
   * @throws ServerError, with the field if a prompt's syntax is misused; NetworkError
   */
  async count(prompts: Prompts): Promise<PromptCounts> {
    const response = await this.#send('tokenize', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(prompts)
    })
    if (!response.ok) throw await serverError(response)
    return (await response.json()) as PromptCounts
  }

  /** Lists the LoRAs of a model; undefined for the default one. @throws ServerError, NetworkError */
  async loras(model: string | undefined): Promise<Lora[]> {
    const query = model === undefined ? '' : `?${new URLSearchParams({ model }).toString()}`
    const response = await this.#send(`loras${query}`, {})
    if (!response.ok) throw await serverError(response)
    return ((await response.json()) as { loras: Lora[] }).loras
  }

  /** Lists what the images of a model can follow: names for `controls` and `ip_adapters`. @throws ServerError, NetworkError */
  async conditions(model: string | undefined): Promise<Record<ConditionList, string[]>> {
    const query = model === undefined ? '' : `?${new URLSearchParams({ model }).toString()}`
    const namesAt = async <L extends string>(path: string, list: L): Promise<string[]> => {
      const response = await this.#send(`${path}${query}`, {})
      if (!response.ok) throw await serverError(response)
      return ((await response.json()) as Record<L, { name: string }[]>)[list].map(({ name }) => name)
    }
    return {
      controls: await namesAt('controls', 'controls'),
      ip_adapters: await namesAt('ip-adapters', 'ip_adapters')
    }
  }

  /** A PNG file of what a net gets of a control picture. @throws ServerError, NetworkError */
  async previewControl(request: Omit<ControlPreviewRequest, 'image'>, file: Blob): Promise<Blob> {
    const response = await this.#send('controls/preview', { method: 'POST', body: formData(request, { image: file }) })
    if (!response.ok) throw await serverError(response)
    return response.blob()
  }

  async #send(path: string, init: RequestInit & { headers?: Record<string, string> }): Promise<Response> {
    const key = this.#keys.get()
    const headers = { ...init.headers, ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) }
    try {
      return await fetch(new URL(path, document.baseURI), { ...init, headers, cache: 'no-store' })
    } catch (error) {
      if (init.signal?.aborted) throw error
      throw new NetworkError(error)
    }
  }
}

/** Parses an event; undefined for types this page does not know, which a newer server may send. */
function readEvent(name: string, data: string): ServerEvent | undefined {
  return EVENTS.has(name) ? { ...(JSON.parse(data) as ServerEvent), type: name as 'done' } : undefined
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer)
        reject(signal.reason as Error)
      },
      { once: true }
    )
  })
}

/** @see https://www.rfc-editor.org/rfc/rfc8631 */
function documentsOf({ headers, url }: Response): URL | undefined {
  const target = /<([^>]*)>\s*;\s*rel="service-doc"/.exec(headers.get('link') ?? '')?.[1]
  return target === undefined ? undefined : new URL(target, url)
}
