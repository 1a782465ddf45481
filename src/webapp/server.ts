import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { Connections } from '../connections.js'
import { connectionRoom } from '../descriptors.js'
import { createBase } from '../plugins/base.js'
import type { WebOptions } from './web-options.js'
import { forwardPlugin, SHORT_REQUESTS } from './forward.js'
import { pagePlugin } from './page-plugin.js'

/** File descriptors needed besides connections to visitors and to the gateway. */
const OWN_DESCRIPTORS = 32

/**
 * Assembles the web page's own process: the page, the forwarded routes and a probe. Does not listen.
 *
 * @throws Error if the file descriptor limit leaves none for visitors
 */
export async function buildWebApp(options: WebOptions, log: FastifyBaseLogger): Promise<FastifyInstance> {
  const { bodyLimit, maxRequests, maxConnections, receiveTimeout, keepAliveTimeout, connectionMaxAge, sendTimeout } =
    options
  const connections = new Connections(
    connectionRoom(maxConnections, OWN_DESCRIPTORS + SHORT_REQUESTS + maxRequests, log)
  )
  const app = await createBase({
    log,
    logPrompts: false,
    bodyLimit,
    receiveTimeout: receiveTimeout * 1000,
    keepAliveTimeout: keepAliveTimeout * 1000,
    connectionMaxAge: connectionMaxAge * 1000,
    sendTimeout: sendTimeout * 1000,
    connections
  })
  // Covers only this process. The gateway's /health says whether images can be made.
  app.get('/healthz', { config: { atOnce: true } }, async () => ({ status: 'ok' }))
  await app.register(forwardPlugin, options)
  await app.register(pagePlugin)
  return app
}
