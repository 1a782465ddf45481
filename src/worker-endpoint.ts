import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { freshSocketPath } from './socket-path.js'

/** Matches tcp://host:port; an IPv6 host is in brackets. */
const TCP = /^tcp:\/\/(\[[0-9a-fA-F:.]+\]|[^:[\]/]+):(\d+)$/
const MOST_PORT = 65_535
const LOOPBACK = /^(127\.|localhost$|\[::1\]$)/

/**
 * Validates and completes the address that the gateway binds for workers. Makes a socket path absolute, because workers
 * run in another folder.
 *
 * @param endpoint the option's value; empty for a fresh socket
 * @throws Error that says which values are valid
 */
export function workerEndpoint(endpoint: string, { spawns, hasKeys }: { spawns: boolean; hasKeys: boolean }): string {
  if (endpoint === '') {
    if (!spawns) throw new Error('WORKER=connect needs it: set the address that the workers connect to')
    return `ipc://${freshSocketPath(tmpdir())}`
  }
  if (endpoint.startsWith('ipc://') && endpoint.length > 'ipc://'.length)
    return `ipc://${socketPath(endpoint.slice('ipc://'.length))}`
  const [, host, port] = TCP.exec(endpoint) ?? []
  if (host === undefined || Number(port) < 1 || Number(port) > MOST_PORT)
    throw new Error(
      'must be ipc://PATH or tcp://HOST:PORT, with a port from 1 to 65535 and an IPv6 address in brackets'
    )
  if (!LOOPBACK.test(host) && !hasKeys)
    throw new Error(
      'other machines can reach this address, so CURVE_SECRET_KEY and CURVE_WORKER_KEYS must be set (or use ipc:// or a loopback address)'
    )
  return endpoint
}

function socketPath(path: string): string {
  if (path.startsWith('@'))
    throw new Error(
      'an abstract socket has no owner and no mode, so any user of this machine could connect; give the path of a file'
    )
  return resolve(path)
}
