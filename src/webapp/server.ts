import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { Connections } from '../connections.js'
import { connectionRoom } from '../descriptors.js'
import { createBase } from '../plugins/base.js'
import type { WebConfig } from './config.js'
import { forwardPlugin, SHORT_REQUESTS } from './forward.js'
import { pagePlugin } from './page-plugin.js'

/** Descriptors that are neither for visitors nor for what is passed on to the gateway. */
const OWN_DESCRIPTORS = 32

/**
 * Puts the web page's own process together: the page, what it forwards, and a probe. It never listens.
 *
 * @throws Error when the limit of descriptors leaves none for visitors
 */
export async function buildWebApp(config: WebConfig, log: FastifyBaseLogger): Promise<FastifyInstance> {
  const { bodyLimit, maxRequests, maxConnections, receiveTimeout, keepAliveTimeout, sendTimeout } = config
  const connections = new Connections(
    connectionRoom(maxConnections, OWN_DESCRIPTORS + SHORT_REQUESTS + maxRequests, log)
  )
  const app = await createBase({
    log,
    logPrompts: false,
    bodyLimit,
    receiveTimeout: receiveTimeout * 1000,
    keepAliveTimeout: keepAliveTimeout * 1000,
    sendTimeout: sendTimeout * 1000,
    connections
  })
  // This process alone: whether images can be made is the gateway's /health.
  app.get('/healthz', { config: { atOnce: true } }, async () => ({ status: 'ok' }))
  await app.register(forwardPlugin, config)
  await app.register(pagePlugin)
  return app
}
