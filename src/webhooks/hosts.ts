/** Longest address of a webhook, in characters. */
export const MAX_WEBHOOK_URL = 2048

const ANY = '*.'
/** Where a `*` was, while a rule is read as a URL. */
const STAND_IN = 'any.'

/** Addresses to which webhooks may go. */
export interface WebhookHost {
  readonly protocol: string
  /** With a port, unless it is the protocol's own. */
  readonly host: string
  /** Whether it means every name under that host, instead of the host. */
  readonly under: boolean
}

/**
 * Reads hosts like `hooks.example.com`, `*.example.com`, `hooks.example.com:8443` and `http://receiver.team.svc.cluster.local:8080`. Without
 * a port it is the protocol's, without a protocol https.
 *
 * @throws Error that says which is wrong and how to write it; it does not repeat it, which may have a secret path
 */
export function parseWebhookHosts(texts: readonly string[]): readonly WebhookHost[] {
  return texts.map((text, index) => {
    const host = parseWebhookHost(text)
    if (host !== undefined) return host
    throw new Error(
      `host ${index + 1} must be written like hooks.example.com, *.example.com, hooks.example.com:8443 or http://receiver.team.svc.cluster.local:8080`
    )
  })
}

function parseWebhookHost(text: string): WebhookHost | undefined {
  const [, scheme = 'https', name = ''] = /^(?:(https?):\/\/)?(.*)$/.exec(text) ?? []
  const under = name.startsWith(ANY)
  const rest = under ? name.slice(ANY.length) : name
  const href = `${scheme}://${under ? STAND_IN : ''}${rest}`
  // Nothing but a host.
  if (/[/?#@*\\]/.test(rest) || !URL.canParse(href)) return undefined
  const { protocol, host } = new URL(href)
  const named = under ? host.slice(STAND_IN.length) : host
  // Never all names of a top-level domain.
  return under && !named.includes('.') ? undefined : { protocol, host: named, under }
}

/** Whether a webhook may go to this URL. */
export function isWebhookHost({ protocol, host }: URL, hosts: readonly WebhookHost[]): boolean {
  return hosts.some(
    (rule) => rule.protocol === protocol && (rule.under ? host.endsWith(`.${rule.host}`) : host === rule.host)
  )
}

/** @throws Error that says what is wrong with a URL, and does not repeat it: it may have a password in it */
export function parseWebhookUrl(text: string): URL {
  const url = text.length <= MAX_WEBHOOK_URL && URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw new Error(`must be an https:// address of at most ${MAX_WEBHOOK_URL} characters`)
  if (url.username !== '' || url.password !== '') throw new Error('must not have a user or password in it')
  if (url.hash !== '') throw new Error('must not have a fragment (#) in it')
  return url
}
