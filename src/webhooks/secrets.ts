import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'

const PREFIX = 'whsec_'
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const LEAST_BYTES = 24
const MOST_BYTES = 64

/** Each is a signature in every webhook. */
const MOST_SECRETS = 4

/**
 * Secrets that sign webhooks, separated by spaces or lines.
 *
 * @throws Error that says what is wrong without revealing a secret
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
 */
export function parseSecrets(text: string): readonly Buffer[] {
  const secrets = text.split(/\s+/).filter(Boolean)
  if (secrets.length === 0) throw new Error('has no secret')
  if (secrets.length > MOST_SECRETS) throw new Error(`has more than ${MOST_SECRETS} secrets`)
  return secrets.map((secret, index) => parseSecret(secret, index))
}

function parseSecret(secret: string, index: number): Buffer {
  const encoded = secret.slice(PREFIX.length)
  const bytes = Buffer.from(encoded, 'base64')
  if (!secret.startsWith(PREFIX) || !BASE64.test(encoded) || bytes.length < LEAST_BYTES || bytes.length > MOST_BYTES)
    throw new Error(
      `secret ${index + 1} must be ${PREFIX} and ${LEAST_BYTES} to ${MOST_BYTES} bytes in base64, such as the output of: echo "${PREFIX}$(openssl rand -base64 32)"`
    )
  return bytes
}

/** Whether an option names a file. */
export function isFile(given: string): boolean {
  return given.startsWith('@')
}

/** The secrets of an option, or those in the file that "@" names. @throws Error that says what is wrong without revealing one */
export async function secretsIn(given: string): Promise<readonly Buffer[]> {
  return parseSecrets(isFile(given) ? await readFile(given.slice(1), 'utf8') : given)
}

/** The header `webhook-signature`: one signature for each secret. @param timestamp in seconds since 1970 */
export function signatureOf(secrets: readonly Buffer[], id: string, timestamp: number, body: string): string {
  const signed = `${id}.${timestamp}.${body}`
  return secrets.map((secret) => `v1,${createHmac('sha256', secret).update(signed).digest('base64')}`).join(' ')
}
