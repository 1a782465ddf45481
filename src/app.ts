import accepts from '@fastify/accepts'
import sensible from '@fastify/sensible'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import type { Engine } from './engine/engine.js'
import type { Metrics } from './metrics.js'
import { errorsPlugin } from './plugins/errors.js'
import { openApiPlugin } from './plugins/openapi.js'
import { requestLogPlugin } from './plugins/request-log.js'
import { requestIdOf, requestIdPlugin } from './plugins/request-id.js'
import { generateRoute } from './routes/generate.js'
import { healthRoutes } from './routes/health.js'
import { metricsRoute } from './routes/metrics.js'
import { openAiRoutes } from './routes/openai/index.js'
import { recipeRoute } from './routes/recipe.js'
import { requestRoutes } from './routes/requests.js'
import type { Defaults } from './service/resolve.js'
import type { ImageService } from './service/service.js'
import { pagePlugin } from './webapp/page-plugin.js'

export interface AppParts {
  engine: Engine
  service: ImageService
  defaults: Defaults
  metrics: Metrics
  log: FastifyBaseLogger
  /** bytes */
  bodyLimit: number
  /** ms that a client has to send its request */
  receiveTimeout: number
  /** Whether answers carry the recipe with its prompts. */
  withRecipe: boolean
  version: string
}

/** Puts the HTTP application together. It never listens: that is main's, and a test's, to do. */
export async function buildApp({ engine, service, defaults, metrics, log, bodyLimit, receiveTimeout, withRecipe, version }: AppParts): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: log,
    bodyLimit,
    genReqId: requestIdOf,
    logController: new LogController({ requestIdLogLabel: 'requestId', disableRequestLogging: true }),
    // A client has this long to send its request; how long an answer may take is the service's to say.
    requestTimeout: receiveTimeout,
    forceCloseConnections: 'idle',
    // Strict: "7" is no number, and an unknown field is a mistake that the client wants to hear about.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: false } }
  }).withTypeProvider<TypeBoxTypeProvider>()

  await app.register(sensible)
  await app.register(accepts)
  await app.register(requestIdPlugin)
  await app.register(requestLogPlugin)
  await app.register(errorsPlugin)
  await app.register(openApiPlugin, { version })

  await app.register(generateRoute, { service, withRecipe })
  await app.register(requestRoutes, { service })
  await app.register(recipeRoute, { engine, version })
  await app.register(openAiRoutes, { prefix: '/v1', engine, service, defaults, withRecipe })
  await app.register(healthRoutes, { engine, service, defaults, version })
  await app.register(metricsRoute, { registry: metrics.registry })
  await app.register(pagePlugin)
  return app
}
