import accepts from '@fastify/accepts'
import cors from '@fastify/cors'
import sensible from '@fastify/sensible'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import type { KeyFile } from './access/key-file.js'
import type { Engine } from './engine/engine.js'
import type { MemoryBudget } from './memory.js'
import type { Metrics } from './metrics.js'
import { accessPlugin } from './plugins/access.js'
import { answerClientError } from './plugins/client-errors.js'
import { answerError, errorsPlugin } from './plugins/errors.js'
import { openApiPlugin } from './plugins/openapi.js'
import { requestLogPlugin } from './plugins/request-log.js'
import { requestIdOf, requestIdPlugin } from './plugins/request-id.js'
import { tracingPlugin } from './plugins/tracing.js'
import { uploadsPlugin } from './plugins/uploads.js'
import { answerHeaderSchemas } from './routes/answers/headers.js'
import { generateRoute } from './routes/generate.js'
import { healthRoute, probeRoutes } from './routes/health.js'
import { metricsRoute } from './routes/metrics.js'
import { openAiRoutes } from './routes/openai/index.js'
import { recipeRoute } from './routes/recipe.js'
import { requestRoutes } from './routes/requests.js'
import { commonHeaders, ErrorResponse } from './schemas/error.js'
import { HealthResponse } from './schemas/health.js'
import type { Defaults } from './service/resolve.js'
import type { ImageService } from './service/service.js'
import { cutSlowReaders } from './slow-readers.js'
import type { Tracing } from './tracing/tracing.js'
import { pagePlugin } from './webapp/page-plugin.js'

/** Headers that a page of another origin may read. */
const EXPOSED_HEADERS = [...Object.keys({ ...commonHeaders, ...answerHeaderSchemas }), 'retry-after']

export interface AppParts {
  engine: Engine
  service: ImageService
  defaults: Defaults
  metrics: Metrics
  /** Keys that requests for images must come with; undefined for none. */
  keys: KeyFile | undefined
  tracing: Tracing
  log: FastifyBaseLogger
  logPrompts: boolean
  /** bytes */
  bodyLimit: number
  /** ms that a client has to send its request */
  receiveTimeout: number
  /** ms that a connection stays open without a request */
  keepAliveTimeout: number
  /** ms in which a client must read a part of its answer (`cutSlowReaders`) */
  sendTimeout: number
  memory: MemoryBudget
  /** Whether answers carry the recipe with its prompts. */
  withRecipe: boolean
  /** Origins whose pages may call the service. */
  corsOrigins: readonly string[]
  /** Whether probes and metrics are here, or on a port of their own (`buildAdminApp`). */
  withAdmin: boolean
  version: string
}

/** Puts the HTTP application together. It never listens: that is main's, and a test's, to do. */
export async function buildApp(parts: AppParts): Promise<FastifyInstance> {
  const { engine, service, defaults, keys, tracing, withRecipe, corsOrigins, withAdmin, version } = parts
  const app = await createBase(parts)
  if (corsOrigins.length > 0) await app.register(cors, { origin: [...corsOrigins], exposedHeaders: EXPOSED_HEADERS })
  await app.register(openApiPlugin, { version })

  await app.register(async (scope) => {
    await scope.register(tracingPlugin, { tracing })
    await scope.register(accessPlugin, { keys })
    await scope.register(generateRoute, { service, withRecipe })
    await scope.register(requestRoutes, { service })
    await scope.register(recipeRoute, { engine, defaults, version })
    await scope.register(openAiRoutes, { prefix: '/v1', engine, service, defaults, withRecipe })
  })
  await app.register(healthRoute, { engine, service, defaults, version })
  if (withAdmin) await registerAdmin(app, parts)
  await app.register(pagePlugin)
  return app
}

/** The application of the second port: /health again, the probes and the metrics, and nothing for users. */
export async function buildAdminApp(parts: AppParts): Promise<FastifyInstance> {
  const app = await createBase(parts)
  app.addSchema(HealthResponse)
  app.addSchema(ErrorResponse)
  await app.register(healthRoute, parts)
  await registerAdmin(app, parts)
  return app
}

async function registerAdmin(app: FastifyInstance, { engine, metrics }: AppParts): Promise<void> {
  await app.register(probeRoutes, { engine })
  await app.register(metricsRoute, { registry: metrics.registry })
}

/** What both applications have in common: limits, ids, logs, errors. */
async function createBase({ log, bodyLimit, receiveTimeout, keepAliveTimeout, sendTimeout, logPrompts, memory, metrics }: AppParts): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: log,
    bodyLimit,
    genReqId: requestIdOf,
    logController: new LogController({ requestIdLogLabel: 'requestId', disableRequestLogging: true }),
    // A client has this long to send its request; how long an answer may take is the service's to say.
    requestTimeout: receiveTimeout,
    keepAliveTimeout,
    // Node takes the longer one of these two for the whole request, and looks every 30 s by default.
    http: { headersTimeout: receiveTimeout, connectionsCheckingInterval: Math.ceil(receiveTimeout / 4) },
    forceCloseConnections: 'idle',
    clientErrorHandler: answerClientError,
    frameworkErrors: (error, request, reply) => void answerError(error, request, reply),
    // A request's id is at most 128 characters; a longer one is told so by the schema.
    routerOptions: { maxParamLength: 1024 },
    // Strict: "7" is no number, and an unknown field is a mistake that the client wants to hear about.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: false } }
  }).withTypeProvider<TypeBoxTypeProvider>()
  cutSlowReaders(app.server, sendTimeout, (remote) => {
    metrics.slowReader()
    log.info({ remote }, 'cut a client off that did not read its answer (SEND_TIMEOUT)')
  })
  await app.register(uploadsPlugin, { memory })
  await app.register(sensible)
  await app.register(accepts)
  await app.register(requestIdPlugin)
  await app.register(requestLogPlugin, { logPrompts })
  await app.register(errorsPlugin)
  return app
}
