import { NetworkError, ServerError, serverError } from './errors.js'
import { readSse } from './sse.js'
import type { GenerateRequest, Health, RecipeAnswer, ServerEvent } from './types.js'

/** Where the visitor's access key is, if there is one. */
export interface Keys {
  get(): string | undefined
}

export interface Ticket {
  /** The request's id, which is the client's to choose. */
  id: string
  signal: AbortSignal
}

/** Waits before another try to take up a broken stream, in ms. */
const RESUME_AFTER_MS = [250, 1000, 2000, 4000]

/** The longest of these waits, whatever a server says. */
const MOST_WAIT_MS = 10_000

/** A server with one of these cannot make the pictures, and another one can. */
const GOING = new Set(['DRAINING', 'NOT_READY'])

/** How often a request goes on at another server. */
const MAX_MOVES = 5

const EVENTS = new Set(['queued', 'started', 'progress', 'preview', 'image', 'error', 'done'])

/** The server as the page needs it. Addresses are relative to the page, wherever a proxy puts it. */
export class Client {
  readonly #keys: Keys

  constructor(keys: Keys) {
    this.#keys = keys
  }

  /**
   * How the server is, and where its documents are, if it has any.
   *
   * @throws NetworkError
   */
  async health(): Promise<{ health: Health; documents: URL | undefined }> {
    const response = await this.#send('health', {})
    // The server says that it is not ready with status 503 and the same body.
    if (!response.ok && response.status !== 503) throw await serverError(response)
    const health = (await response.json().catch(() => undefined)) as Health | undefined
    if (health?.sizes === undefined) throw new NetworkError(`health answered ${response.status}`)
    return { health, documents: documentsOf(response) }
  }

  /**
   * Makes pictures, and tells of it on the way. A stream that breaks is taken up where it broke, and one that ends because
   * its server goes away is begun anew at the next one.
   *
   * @throws ServerError before the request is accepted; NetworkError; what `signal` was aborted with
   */
  async *generate(request: GenerateRequest, ticket: Ticket): AsyncGenerator<ServerEvent, void, undefined> {
    let accepted = false
    let lastEventId = ''
    let moves = 0
    for (let breaks = 0; ; breaks++) {
      let trouble: ServerError | NetworkError | undefined
      try {
        const response = await this.#openStream(request, ticket, lastEventId)
        accepted = true
        for await (const message of readSse(response)) {
          lastEventId = message.id
          breaks = 0
          const event = readEvent(message.event, message.data)
          if (event?.type === 'error' && GOING.has(event.code) && moves < MAX_MOVES) {
            // What was seen of this run is over: the next server begins with its first event.
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
        // At the first try the server may not even know of the request, so that there is nothing to take up.
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
    { id, signal }: Ticket,
    lastEventId: string
  ): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#send('generate', {
      method: 'POST',
      headers: {
        accept: 'text/event-stream',
        'content-type': 'application/json',
        'x-request-id': id,
        // With a key the request outlives a broken stream for a while, and the same key takes it up.
        'idempotency-key': id,
        ...(lastEventId === '' ? {} : { 'last-event-id': lastEventId })
      },
      body: JSON.stringify(request),
      signal
    })
    if (!response.ok) throw await serverError(response)
    if (response.body === null) throw new NetworkError('an answer without a body')
    return response.body
  }

  /** Stops a request. Also works while the page is being left. */
  async cancel(id: string): Promise<void> {
    await this.#send(`requests/${id}`, { method: 'DELETE', keepalive: true }).catch(() => undefined)
  }

  /**
   * Reads the recipe that a picture carries.
   *
   * @throws ServerError with code NO_RECIPE when it carries none; NetworkError
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

/** Events that this page does not know are for newer ones. */
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
