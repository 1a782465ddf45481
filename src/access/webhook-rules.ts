import { EaselError } from '../errors.js'
import { isWebhookHost, parseWebhookUrl, type WebhookHost } from '../webhooks/hosts.js'
import type { KeyFile } from './key-file.js'

export interface WebhookRulesOptions {
  keys: KeyFile | undefined
  /** Where webhooks may go, without keys. */
  hosts: readonly WebhookHost[]
  /** What signs them; a key may have its own. */
  secrets: readonly Buffer[]
}

/** Where webhooks may go, and what signs them, by the name of the caller's key as the key file is now. */
export class WebhookRules {
  readonly #options: WebhookRulesOptions

  constructor(options: WebhookRulesOptions) {
    this.#options = options
  }

  /** @throws EaselError that says what is wrong with an address, or who allows it */
  accept(text: string, scope: string): URL {
    const url = read(text)
    const hosts = this.#hostsOf(scope)
    const where =
      this.#options.keys === undefined ? 'WEBHOOK_HOSTS' : `webhook_hosts of the key ${scope} in ACCESS_KEYS`
    if (hosts.length === 0)
      throw notAllowed(`webhooks may go nowhere: the operator allows hosts in ${where}; leave webhook out`)
    if (this.secretsOf(scope).length === 0)
      throw notAllowed('this server has nothing to sign webhooks with: the operator sets WEBHOOK_SECRETS')
    if (!isWebhookHost(url, hosts))
      throw notAllowed(`webhooks may not go to ${url.origin}: the operator allows hosts in ${where}`)
    return url
  }

  /** Whether a webhook that was accepted may still go there. */
  allows(url: URL, scope: string): boolean {
    return isWebhookHost(url, this.#hostsOf(scope)) && this.secretsOf(scope).length > 0
  }

  secretsOf(scope: string): readonly Buffer[] {
    return this.#options.keys?.named(scope)?.webhookSecrets ?? this.#options.secrets
  }

  #hostsOf(scope: string): readonly WebhookHost[] {
    const { keys, hosts } = this.#options
    return keys === undefined ? hosts : (keys.named(scope)?.webhookHosts ?? [])
  }
}

function read(text: string): URL {
  try {
    return parseWebhookUrl(text)
  } catch (error) {
    throw new EaselError('INVALID_REQUEST', `webhook ${(error as Error).message}`, { field: 'webhook' })
  }
}

function notAllowed(message: string): EaselError {
  return new EaselError('WEBHOOK_NOT_ALLOWED', message, { field: 'webhook' })
}
