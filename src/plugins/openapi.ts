import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import fp from 'fastify-plugin'
import type { TSchema } from 'typebox'
import * as recipe from '../image/recipe.js'
import * as answer from '../schemas/answer.js'
import * as batchWebhook from '../schemas/batch-webhook.js'
import * as chipSeconds from '../schemas/chip-seconds.js'
import * as controlPreview from '../schemas/control-preview.js'
import * as controls from '../schemas/controls.js'
import * as embeddings from '../schemas/embeddings.js'
import * as estimate from '../schemas/estimate.js'
import * as error from '../schemas/error.js'
import * as generate from '../schemas/generate.js'
import * as health from '../schemas/health.js'
import * as job from '../schemas/job.js'
import * as jobWebhook from '../schemas/job-webhook.js'
import * as loras from '../schemas/loras.js'
import { asOffered } from '../schemas/offered.js'
import * as openai from '../schemas/openai.js'
import * as openaiBatch from '../schemas/openai-batch.js'
import * as recipeRoute from '../schemas/recipe.js'
import * as sdapi from '../schemas/sdapi.js'
import * as tokenize from '../schemas/tokenize.js'
import * as usage from '../schemas/usage.js'
import type { ImageService } from '../service/service.js'

const MODULES: readonly object[] = [
  answer,
  batchWebhook,
  controlPreview,
  chipSeconds,
  controls,
  embeddings,
  error,
  estimate,
  generate,
  health,
  job,
  jobWebhook,
  loras,
  openai,
  openaiBatch,
  recipe,
  recipeRoute,
  sdapi,
  tokenize,
  usage
]

/** The schemas that have an `$id`, by which others refer to them. */
const SHARED: readonly TSchema[] = MODULES.flatMap((module): unknown[] => Object.values(module)).filter(
  (schema): schema is TSchema => typeof schema === 'object' && schema !== null && '$id' in schema
)

/**
 * /docs loads only its own files; React sets inline styles. Swagger UI's default policy would also upgrade every
 * request to https, which a service inside a cluster does not speak.
 */
const CONTENT_SECURITY_POLICY =
  "default-src 'self'; base-uri 'self'; frame-ancestors 'self'; img-src 'self' data: blob:; object-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'"

/** What a receiver of webhooks gets. @param body the name of its schema */
const webhook = (tag: string, operationId: string, what: string, body: string) => ({
  post: {
    tags: [tag],
    operationId,
    summary: `A ${what} has ended`,
    description: `Sent to the \`webhook\` of a ${what} (docs/webhooks.md), at least once. Any answer from 200 to 299 within 15 s takes it; 410 refuses it for good; after others it is sent again.`,
    security: [],
    parameters: Object.entries(jobWebhook.webhookHeaders).map(([name, description]) => ({
      name,
      in: 'header' as const,
      required: true,
      description,
      schema: { type: 'string' as const }
    })),
    requestBody: {
      required: true,
      content: { 'application/json': { schema: { $ref: `#/components/schemas/${body}` } } }
    },
    responses: { '2XX': { description: 'It is taken.' }, '410': { description: 'It is not sent again.' } }
  }
})

/**
 * Serves an OpenAPI 3.1 document of all routes registered after it at /openapi.json, and a page to read it at /docs.
 */
export const openApiPlugin = fp<{ service: ImageService }>(
  async (app, { service }) => {
    for (const schema of SHARED) app.addSchema(schema)
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'Easel',
          version: service.version,
          description:
            'SDXL text-to-image over HTTP. Every answer carries `x-request-id`. Every error has the same form and a stable `code`.',
          license: { name: 'Apache-2.0', identifier: 'Apache-2.0' }
        },
        components: {
          securitySchemes: {
            key: {
              type: 'http',
              scheme: 'bearer',
              description: 'Required only if the server is configured with keys.'
            },
            password: { type: 'http', scheme: 'basic', description: 'The key as the password, with any user.' }
          }
        },
        security: [{}, { key: [] }],
        webhooks: {
          job: webhook('jobs', 'jobEnded', 'job', 'JobWebhook'),
          batch: webhook('openai', 'batchEnded', 'batch', 'BatchWebhook')
        },
        tags: [
          { name: 'images', description: 'Making images' },
          { name: 'jobs', description: 'Images that are made later, and kept' },
          { name: 'openai', description: 'The OpenAI Images API, for its clients' },
          { name: 'automatic1111', description: "The API of AUTOMATIC1111's web UI, for its clients" },
          { name: 'operations', description: 'Health and metrics' }
        ]
      },
      refResolver: {
        buildLocalReference: ({ $id }, _base, _fragment, index) => (typeof $id === 'string' ? $id : `schema-${index}`)
      }
    })
    await app.register(swaggerUi, {
      routePrefix: '/docs',
      // Relative, so that the page works behind a proxy that strips a path prefix.
      indexPrefix: '.',
      staticCSP: CONTENT_SECURITY_POLICY,
      uiConfig: { tryItOutEnabled: true, docExpansion: 'list' },
      transformSpecificationClone: false,
      transformSpecification: (document) => ({ ...asOffered(document, service.offers), servers: [{ url: '..' }] })
    })
    app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) =>
      reply.header('cache-control', 'no-cache').send(asOffered(app.swagger(), service.offers))
    )
  },
  { name: 'openapi' }
)
