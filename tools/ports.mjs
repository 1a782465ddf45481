// @ts-check
import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * Returns ports of the loopback address that were free a moment ago, all different.
 *
 * @param {number} count
 * @returns {Promise<number[]>}
 */
export async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => /** @type {import('node:net').AddressInfo} */ (server.address()).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** @returns {Promise<number>} one such port */
export async function freePort() {
  const [port = 0] = await freePorts(1)
  return port
}
