import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import { errorsPlugin } from '../plugins/errors.js'
import { requestIdOf, requestIdPlugin } from '../plugins/request-id.js'
import { requestLogPlugin } from '../plugins/request-log.js'
import { options } from './config.js'
import { forwardPlugin } from './forward.js'
import { pagePlugin } from './page-plugin.js'

interface WebParts {
  serverUrl: URL
  apiKey?: string | undefined
  /** seconds that a connection stays open without a request */
  keepAliveTimeout?: number
  log: FastifyBaseLogger
}

/** Puts the web page's own process together: the page, what it forwards, and a probe. It never listens. */
export async function buildWebApp({ serverUrl, apiKey, keepAliveTimeout = options.keepAliveTimeout.fallback, log }: WebParts): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: log,
    genReqId: requestIdOf,
    logController: new LogController({ requestIdLogLabel: 'requestId', disableRequestLogging: true }),
    // A visitor has this long to send a request; how long an answer may take is the gateway's to say.
    requestTimeout: 30_000,
    keepAliveTimeout: keepAliveTimeout * 1000,
    forceCloseConnections: 'idle'
  })
  await app.register(requestIdPlugin)
  await app.register(requestLogPlugin, { logPrompts: false })
  await app.register(errorsPlugin)
  // This process alone: whether images can be made is the gateway's /health.
  app.get('/healthz', async () => ({ status: 'ok' }))
  await app.register(forwardPlugin, { serverUrl, apiKey })
  await app.register(pagePlugin)
  return app
}
