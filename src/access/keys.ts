import { createHash, timingSafeEqual } from 'node:crypto'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { parseWebhookHosts, type WebhookHost } from '../webhooks/hosts.js'
import { parseSecrets } from '../webhooks/secrets.js'

/** A caller that may use the service. */
export interface AccessKey {
  /** Shown in logs and metrics, so not a secret. */
  readonly name: string
  /** SHA-256 of the key. */
  readonly digest: Buffer
  readonly requestsPerMinute: number | undefined
  readonly concurrentRequests: number | undefined
  /** How many chip-seconds it gets for each one of a key with weight 1, while both wait. */
  readonly weight: number
  /** Whether all its requests are batch requests. */
  readonly batchOnly: boolean
  /** Where the webhooks of its jobs may go. */
  readonly webhookHosts: readonly WebhookHost[]
  /** What signs them, instead of the server's secrets. */
  readonly webhookSecrets: readonly Buffer[] | undefined
}

const KeyFile = Type.Object(
  {
    keys: Type.Array(
      Type.Object(
        {
          name: Type.String({ pattern: '^[\\w.-]{1,64}$' }),
          key: Type.Optional(Type.String({ pattern: '^[\\x21-\\x7e]{16,}$' })),
          sha256: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
          requests_per_minute: Type.Optional(Type.Integer({ minimum: 1 })),
          concurrent_requests: Type.Optional(Type.Integer({ minimum: 1 })),
          weight: Type.Optional(Type.Number({ minimum: 0.01, maximum: 100 })),
          batch_only: Type.Optional(Type.Boolean()),
          webhook_hosts: Type.Optional(Type.Array(Type.String())),
          webhook_secrets: Type.Optional(Type.Array(Type.String()))
        },
        { additionalProperties: false }
      )
    )
  },
  { additionalProperties: false }
)

/**
 * Parses a key file: `{"keys": [{"name", "key" or "sha256", "requests_per_minute"?, "concurrent_requests"?, "weight"?,
 * "batch_only"?, "webhook_hosts"?, "webhook_secrets"?}]}`.
 *
 * @throws Error that says what is wrong without revealing a key
 */
export function parseKeys(text: string): AccessKey[] {
  let file: unknown
  try {
    file = JSON.parse(text)
  } catch {
    throw new Error('it is not JSON')
  }
  if (!Value.Check(KeyFile, file)) {
    const [first] = Value.Errors(KeyFile, file)
    throw new Error(`${first?.instancePath || 'it'}: ${first?.message}`)
  }
  const names = new Set<string>()
  return file.keys.map(
    ({
      name,
      key,
      sha256,
      requests_per_minute,
      concurrent_requests,
      weight = 1,
      batch_only = false,
      webhook_hosts = [],
      webhook_secrets
    }) => {
      if (names.has(name)) throw new Error(`two keys have the name ${name}`)
      names.add(name)
      if ((key === undefined) === (sha256 === undefined)) throw new Error(`${name}: give either key or sha256`)
      const digest = key === undefined ? Buffer.from(sha256!, 'hex') : digestOf(key)
      return {
        name,
        digest,
        requestsPerMinute: requests_per_minute,
        concurrentRequests: concurrent_requests,
        weight,
        batchOnly: batch_only,
        webhookHosts: ofKey(name, 'webhook_hosts', () => parseWebhookHosts(webhook_hosts)),
        webhookSecrets: ofKey(name, 'webhook_secrets', () => webhook_secrets && parseSecrets(webhook_secrets.join(' ')))
      }
    }
  )
}

/** What `read` returns. @throws Error that says of which key, and where in it, something is wrong */
function ofKey<T>(name: string, field: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new Error(`${name}: ${field}: ${(error as Error).message}`, { cause: error })
  }
}

/** The key that matches a token. Constant-time: compares every key even after a match. */
export function findKey(keys: readonly AccessKey[], token: string): AccessKey | undefined {
  const digest = digestOf(token)
  let found: AccessKey | undefined
  for (const key of keys) if (timingSafeEqual(key.digest, digest)) found ??= key
  return found
}

function digestOf(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}
