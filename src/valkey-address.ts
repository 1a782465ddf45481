/** Where a Valkey server is, and how to sign in. */
export interface ValkeyAddress {
  readonly host: string
  readonly port: number
  readonly tls: boolean
  readonly db: number
  readonly username: string | undefined
  readonly password: string | undefined
}

const TLS: Readonly<Record<string, boolean>> = {
  'valkey:': false,
  'redis:': false,
  'valkeys:': true,
  'rediss:': true
}

const DEFAULT_PORT = 6379

/**
 * Parses `valkey://[user:password@]host[:port][/db]`; valkeys and rediss are over TLS.
 *
 * @throws Error that does not repeat the address, which may have a password
 */
export function parseValkeyAddress(text: string): ValkeyAddress {
  if (!URL.canParse(text)) throw new Error('is not an address; write it like valkey://host:6379')
  const { protocol, hostname, port, pathname, username, password, search, hash } = new URL(text)
  const tls = TLS[protocol]
  if (tls === undefined) throw new Error('must be memory, or begin with valkey://, valkeys://, redis:// or rediss://')
  const [, db = ''] = /^\/?(\d*)$/.exec(pathname) ?? [undefined, undefined]
  if (hostname === '' || db === undefined || search !== '' || hash !== '' || !/^\/?\d{0,4}$/.test(pathname))
    throw new Error('must have a host, and after it nothing but a port and the number of a database')
  return {
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? DEFAULT_PORT : Number(port),
    tls,
    db: db === '' ? 0 : Number(db),
    username: username === '' ? undefined : decodeURIComponent(username),
    password: password === '' ? undefined : decodeURIComponent(password)
  }
}

/** The address for people, without what signs in. */
export function shownAddress({ host, port, tls, db }: ValkeyAddress): string {
  return `${tls ? 'valkeys' : 'valkey'}://${host.includes(':') ? `[${host}]` : host}:${port}/${db}`
}
