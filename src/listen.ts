import { lookup } from 'node:dns/promises'
import { type AddressInfo, createServer } from 'node:net'
import type { FastifyInstance } from 'fastify'

/** The addresses to listen on for a host. On most machines localhost is both 127.0.0.1 and ::1. */
export async function addressesOf(host: string): Promise<string[]> {
  if (host !== 'localhost') return [host]
  const found = await lookup(host, { all: true }).catch(() => [])
  return found.length === 0 ? [host] : [...new Set(found.map(({ address }) => address))]
}

export interface Listening {
  /** Listening fails if the first one is not free, and skips any other that is not. */
  addresses: readonly string[]
  /** 0 picks a free one. */
  port: number
  /** Makes the log line for each address. */
  listenTextResolver: (address: string) => string
}

/**
 * Makes the application's single server listen on several addresses. Fastify would create another server for each
 * address of localhost, without our connection limit and our answers to malformed HTTP.
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
