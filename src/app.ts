import accepts from '@fastify/accepts'
import cors from '@fastify/cors'
import sensible from '@fastify/sensible'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import type { KeyFile } from './access/key-file.js'
import type { Jobs } from './jobs/jobs.js'
import type { Places } from './jobs/places.js'
import type { MemoryBudget } from './memory.js'
import type { Metrics } from './metrics.js'
import { accessPlugin } from './plugins/access.js'
import { type BaseOptions, createBase } from './plugins/base.js'
import { jsonBodyPlugin } from './plugins/json-body.js'
import { openApiPlugin } from './plugins/openapi.js'
import { tracingPlugin } from './plugins/tracing.js'
import { uploadsPlugin } from './plugins/uploads.js'
import { answerHeaderSchemas } from './routes/answers/headers.js'
import { controlPreviewRoute } from './routes/control-preview.js'
import { fileListRoutes } from './routes/file-lists.js'
import { generateRoute } from './routes/generate.js'
import { healthRoute, probeRoutes } from './routes/health.js'
import { jobRoutes } from './routes/jobs/index.js'
import { metricsRoute, pickerMetricsRoute } from './routes/metrics.js'
import type { BatchParts } from './routes/openai/batches.js'
import type { FileParts } from './routes/openai/files.js'
import { openAiRoutes } from './routes/openai/index.js'
import { recipeRoute } from './routes/recipe.js'
import { requestRoutes } from './routes/requests.js'
import { type StoredFiles, storedFileRoute } from './routes/stored-file.js'
import { tokenizeRoute } from './routes/tokenize.js'
import { sdapiRoutes } from './routes/sdapi/index.js'
import { commonHeaders, ErrorResponse } from './schemas/error.js'
import { usageRoute } from './routes/usage.js'
import { HealthResponse } from './schemas/health.js'
import { UsageResponse } from './schemas/usage.js'
import type { Results } from './results/results.js'
import type { ImageService } from './service/service.js'
import type { Tracing } from './tracing/tracing.js'
import type { UploadStore } from './uploads/store.js'
import { pagePlugin } from './webapp/page-plugin.js'

/** Response headers that a page of another origin may read. */
const EXPOSED_HEADERS = [
  ...Object.keys({ ...commonHeaders, ...answerHeaderSchemas }),
  'retry-after',
  'location',
  'preference-applied'
]

/** AUTOMATIC1111's API, whose clients have no other authentication than Basic. */
const SDAPI = '/sdapi/v1'

/** The default of @fastify/cors lacks PUT and DELETE, which a page needs to submit and to cancel. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE']

export interface AppParts extends BaseOptions {
  service: ImageService
  jobs: Jobs
  places: Places
  metrics: Metrics
  /** Access keys for requests for images; undefined if none are required. */
  keys: KeyFile | undefined
  tracing: Tracing
  memory: MemoryBudget
  uploads: UploadStore
  /** Whether responses include the recipe, which contains the prompts. */
  withRecipe: boolean
  /** Origins whose pages may call the service. */
  corsOrigins: readonly string[]
  /** Whether /v1 replaces a size that is not offered by the nearest offered one. */
  snapSizes: boolean
  /** Where images are stored that /v1 answers as URLs; undefined for data: URLs. */
  results: Results | undefined
  /** The stored images, if the gateway itself serves them. */
  storedFiles: StoredFiles | undefined
  /** What URLs of the gateway's own begin with; undefined for what the client called it. */
  publicUrl: string | undefined
  /** What /v1/files and /v1/batches need. */
  batching: Pick<FileParts & BatchParts, 'files' | 'batches' | 'batchResults' | 'batchEndpoint'>
  /** What an endpoint picker reads; undefined if none does. */
  pickerMetrics: Registry | undefined
  /** Whether probes and metrics are on this port; otherwise `buildAdminApp` serves them on another. */
  withAdmin: boolean
}

/** Builds the HTTP application without listening. */
export async function buildApp(parts: AppParts): Promise<FastifyInstance> {
  const { service, jobs, places, memory, keys, tracing, withRecipe, corsOrigins, withAdmin, uploads, bodyLimit } = parts
  const app = await createApp(parts)
  if (corsOrigins.length > 0)
    await app.register(cors, { origin: [...corsOrigins], methods: METHODS, exposedHeaders: EXPOSED_HEADERS })
  await app.register(openApiPlugin, { service })

  await app.register(async (scope) => {
    await scope.register(tracingPlugin, { tracing })
    await scope.register(accessPlugin, { keys, passwordsUnder: `${SDAPI}/`, shared: jobs.store.shared })
    const { snapSizes, results, publicUrl } = parts
    await scope.register(generateRoute, { service, places, withRecipe, uploads, bodyLimit, jobs, publicUrl })
    await scope.register(jobRoutes, { jobs, memory, uploads, bodyLimit, publicUrl })
    await scope.register(requestRoutes, { service, shared: jobs.store.shared })
    await scope.register(tokenizeRoute, { service })
    await scope.register(fileListRoutes, { service })
    await scope.register(controlPreviewRoute, { service, uploads, bodyLimit })
    await scope.register(recipeRoute, { service })
    const answering = { snapSizes, results, publicUrl }
    const making = { service, jobs, places, withRecipe, uploads, bodyLimit }
    const batching = { ...parts.batching, memory, keep: jobs.store.bounds.keep }
    await scope.register(openAiRoutes, { prefix: '/v1', ...making, ...answering, ...batching })
    await scope.register(sdapiRoutes, { prefix: SDAPI, service, places, withRecipe, uploads, bodyLimit })
  })
  await app.register(storedFileRoute, { files: parts.storedFiles })
  await app.register(healthRoute, { service, jobs })
  if (parts.pickerMetrics !== undefined) await app.register(pickerMetricsRoute, { registry: parts.pickerMetrics })
  if (withAdmin) await registerAdmin(app, parts)
  await app.register(pagePlugin)
  return app
}

/** Builds the application of the admin port: /health, probes and metrics. */
export async function buildAdminApp(parts: AppParts): Promise<FastifyInstance> {
  const app = await createApp(parts)
  app.addSchema(HealthResponse)
  app.addSchema(ErrorResponse)
  app.addSchema(UsageResponse)
  await app.register(healthRoute, parts)
  await registerAdmin(app, parts)
  return app
}

async function registerAdmin(app: FastifyInstance, { service, metrics }: AppParts): Promise<void> {
  await app.register(probeRoutes, { service })
  await app.register(metricsRoute, { registry: metrics.registry })
  await app.register(usageRoute, { service })
}

async function createApp(parts: AppParts): Promise<FastifyInstance> {
  const app = (await createBase(parts)).withTypeProvider<TypeBoxTypeProvider>()
  await app.register(uploadsPlugin, { memory: parts.memory })
  await app.register(jsonBodyPlugin)
  await app.register(sensible)
  await app.register(accepts)
  return app
}
