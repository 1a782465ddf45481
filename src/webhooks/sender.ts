import { Client, type Dispatcher } from 'undici'
import { AddressGuard, type Network } from './addresses.js'
import { signatureOf } from './secrets.js'

/** A webhook to send. */
export interface Message {
  /** Stays the same however often it is sent. */
  readonly id: string
  readonly url: URL
  readonly body: string
  readonly secrets: readonly Buffer[]
}

/** What became of it. `gone`: the receiver wants no more. */
export type Sent =
  | { readonly how: 'delivered' | 'gone' }
  | {
      readonly how: 'failed'
      /** Without anything that the receiver said, and without the URL. */
      readonly why: string
      /** ms that the receiver asks to wait */
      readonly retryAfter: number
    }

export interface SenderOptions {
  /** Private networks that have receivers. */
  networks: readonly Network[]
  version: string
  /** DNS servers; by default the machine's */
  dns?: readonly string[]
  /** ms for all of one attempt: name, connection, TLS, answer */
  timeout: number
}

/** Bytes of an answer that are read, so that its server can finish, and dropped; and ms that this may take. */
const ANSWER_BYTES = 4096
const ANSWER_MS = 1000

/**
 * Sends webhooks, each over a connection of its own, that goes to no private address and follows no redirect.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export class WebhookSender {
  readonly #options: SenderOptions
  readonly #guard: AddressGuard

  constructor(options: SenderOptions) {
    this.#options = options
    this.#guard = new AddressGuard(options.networks, options.dns)
  }

  /** Never throws. @param stop ends the attempt */
  async send({ id, url, body, secrets }: Message, stop: AbortSignal): Promise<Sent> {
    const { timeout, version } = this.#options
    const limit = AbortSignal.timeout(timeout)
    const timestamp = Math.floor(Date.now() / 1000)
    // The address's own limits and keep-alive do not matter: the client ends with the attempt.
    const over = AbortSignal.any([stop, limit])
    const client = new Client(url.origin, { connect: { lookup: this.#guard.lookup(over), timeout }, allowH2: false })
    try {
      this.#guard.refuseLiteral(url.hostname)
      const answer = await client.request({
        method: 'POST',
        path: url.pathname + url.search,
        headers: {
          'content-type': 'application/json',
          'user-agent': `easel/${version}`,
          'webhook-id': id,
          'webhook-timestamp': String(timestamp),
          'webhook-signature': signatureOf(secrets, id, timestamp, body)
        },
        body,
        signal: over
      })
      await answer.body.dump({ limit: ANSWER_BYTES, signal: AbortSignal.timeout(ANSWER_MS) }).catch(() => undefined)
      return judged(answer)
    } catch (error) {
      return failed(limit.aborted ? `it did not answer within ${timeout / 1000} s` : reasonOf(error as Error))
    } finally {
      client.destroy().catch(() => undefined)
    }
  }
}

function judged({ statusCode, headers }: Dispatcher.ResponseData): Sent {
  if (statusCode >= 200 && statusCode < 300) return { how: 'delivered' }
  if (statusCode === 410) return { how: 'gone' }
  const why = `it answered ${statusCode}`
  if (statusCode >= 300 && statusCode < 400) return failed(`${why}: redirects are not followed`)
  return failed(why, statusCode === 429 || statusCode === 503 ? waitOf(headers['retry-after']) : 0)
}

function failed(why: string, retryAfter = 0): Sent {
  return { how: 'failed', why, retryAfter }
}

/** `Retry-After`, seconds or a date, in ms. @see https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3 */
function waitOf(header: string | string[] | undefined): number {
  const text = [header].flat()[0] ?? ''
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isFinite(wait) ? Math.max(0, wait) : 0
}

/** Error messages may have names and addresses in them, codes have not. */
function reasonOf(error: Error & { code?: unknown }): string {
  if (error.code === 'ADDRESS_REFUSED')
    return 'its address is private or reserved, and in no network of WEBHOOK_NETWORKS'
  return typeof error.code === 'string' ? error.code : error.name
}
