import accepts from '@fastify/accepts'
import cors from '@fastify/cors'
import sensible from '@fastify/sensible'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { KeyFile } from './access/key-file.js'
import type { MemoryBudget } from './memory.js'
import type { Metrics } from './metrics.js'
import { accessPlugin } from './plugins/access.js'
import { type BaseOptions, createBase } from './plugins/base.js'
import { jsonBodyPlugin } from './plugins/json-body.js'
import { openApiPlugin } from './plugins/openapi.js'
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
import type { ImageService } from './service/service.js'
import type { Tracing } from './tracing/tracing.js'
import { pagePlugin } from './webapp/page-plugin.js'

/** Headers that a page of another origin may read. */
const EXPOSED_HEADERS = [...Object.keys({ ...commonHeaders, ...answerHeaderSchemas }), 'retry-after']

/** Methods of our routes. The plugin's own list has no DELETE, by which a page cancels. */
const METHODS = ['GET', 'HEAD', 'POST', 'DELETE']

export interface AppParts extends BaseOptions {
  service: ImageService
  metrics: Metrics
  /** Keys that requests for images must come with; undefined for none. */
  keys: KeyFile | undefined
  tracing: Tracing
  memory: MemoryBudget
  /** Whether answers carry the recipe with its prompts. */
  withRecipe: boolean
  /** Origins whose pages may call the service. */
  corsOrigins: readonly string[]
  /** Whether /v1 takes a size that is not offered for the nearest one. */
  snapSizes: boolean
  /** Whether probes and metrics are here, or on a port of their own (`buildAdminApp`). */
  withAdmin: boolean
}

/** Puts the HTTP application together. It never listens: that is main's, and a test's, to do. */
export async function buildApp(parts: AppParts): Promise<FastifyInstance> {
  const { service, keys, tracing, withRecipe, corsOrigins, snapSizes, withAdmin } = parts
  const app = await createApp(parts)
  if (corsOrigins.length > 0)
    await app.register(cors, { origin: [...corsOrigins], methods: METHODS, exposedHeaders: EXPOSED_HEADERS })
  await app.register(openApiPlugin, { service })

  await app.register(async (scope) => {
    await scope.register(tracingPlugin, { tracing })
    await scope.register(accessPlugin, { keys })
    await scope.register(generateRoute, { service, withRecipe })
    await scope.register(requestRoutes, { service })
    await scope.register(recipeRoute, { service })
    await scope.register(openAiRoutes, { prefix: '/v1', service, withRecipe, snapSizes })
  })
  await app.register(healthRoute, { service })
  if (withAdmin) await registerAdmin(app, parts)
  await app.register(pagePlugin)
  return app
}

/** The application of the second port: /health again, the probes and the metrics, and nothing for users. */
export async function buildAdminApp(parts: AppParts): Promise<FastifyInstance> {
  const app = await createApp(parts)
  app.addSchema(HealthResponse)
  app.addSchema(ErrorResponse)
  await app.register(healthRoute, parts)
  await registerAdmin(app, parts)
  return app
}

async function registerAdmin(app: FastifyInstance, { service, metrics }: AppParts): Promise<void> {
  await app.register(probeRoutes, { service })
  await app.register(metricsRoute, { registry: metrics.registry })
}

/** What both applications have in common. */
async function createApp(parts: AppParts): Promise<FastifyInstance> {
  const app = (await createBase(parts)).withTypeProvider<TypeBoxTypeProvider>()
  await app.register(uploadsPlugin, { memory: parts.memory })
  await app.register(jsonBodyPlugin)
  await app.register(sensible)
  await app.register(accepts)
  return app
}
