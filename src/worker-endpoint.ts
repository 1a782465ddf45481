import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { freshSocketPath } from './socket-path.js'

/** host:port of a tcp address; an IPv6 address is in brackets. */
const TCP = /^tcp:\/\/(\[[0-9a-fA-F:.]+\]|[^:[\]/]+):(\d+)$/
const MOST_PORT = 65_535
const LOOPBACK = /^(127\.|localhost$|\[::1\]$)/

/**
 * Where the gateway listens for workers, made whole: a socket file has an absolute path, since workers run in another folder.
 *
 * @param endpoint as it was given; empty for a fresh socket
 * @throws Error saying what would do
 */
export function workerEndpoint(endpoint: string, { spawns, hasKeys }: { spawns: boolean; hasKeys: boolean }): string {
  if (endpoint === '') {
    if (!spawns) throw new Error('WORKER=connect needs it: the address that the workers connect to')
    return `ipc://${freshSocketPath(tmpdir())}`
  }
  if (endpoint.startsWith('ipc://') && endpoint.length > 'ipc://'.length)
    return `ipc://${socketPath(endpoint.slice('ipc://'.length))}`
  const [, host, port] = TCP.exec(endpoint) ?? []
  if (host === undefined || Number(port) < 1 || Number(port) > MOST_PORT)
    throw new Error(
      'must be ipc://PATH or tcp://HOST:PORT, with a port from 1 to 65535 that workers can be told; an IPv6 address stands in brackets'
    )
  if (!LOOPBACK.test(host) && !hasKeys)
    throw new Error('it leaves this machine, so CURVE_SECRET_KEY must be set (or use ipc:// or a loopback address)')
  return endpoint
}

function socketPath(path: string): string {
  if (path.startsWith('@'))
    throw new Error(
      'an abstract socket has no owner and no mode, so any user of this machine could connect; give the path of a file'
    )
  return resolve(path)
}
