import { lookup } from 'node:dns/promises'
import { type AddressInfo, createServer } from 'node:net'
import type { FastifyInstance } from 'fastify'

/** The addresses to listen on for a host: localhost is 127.0.0.1 and ::1 on most machines. */
export async function addressesOf(host: string): Promise<string[]> {
  if (host !== 'localhost') return [host]
  const found = await lookup(host, { all: true }).catch(() => [])
  return found.length === 0 ? [host] : [...new Set(found.map(({ address }) => address))]
}

export interface Listening {
  /** The first one must be free; the others are left out where they are not. */
  addresses: readonly string[]
  /** 0 takes a free one. */
  port: number
  /** The line that is logged for each address. */
  listenTextResolver: (address: string) => string
}

/**
 * Listens on several addresses with the one server of the application. Fastify would make a server for each of localhost's,
 * with no limit of connections, and with Node's own answers to what is no HTTP.
 */
export async function listen(app: FastifyInstance, { addresses, port, listenTextResolver }: Listening): Promise<void> {
  const [first, ...others] = addresses
  await app.listen({ host: first!, port, listenTextResolver })
  const taken = (app.server.address() as AddressInfo).port
  for (const host of others) {
    const door = createServer(
      { allowHalfOpen: true, noDelay: true },
      (socket) => void app.server.emit('connection', socket)
    )
    const opened = await new Promise<boolean>((resolve) => {
      door.once('error', () => resolve(false))
      door.listen({ host, port: taken }, () => resolve(true))
    })
    if (!opened) continue
    app.server.once('close', () => void door.close())
    app.log.info(listenTextResolver(`http://${host.includes(':') ? `[${host}]` : host}:${taken}`))
  }
}
