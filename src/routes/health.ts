import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { FORMATS } from '../image/formats.js'
import type { Jobs } from '../jobs/jobs.js'
import { failures } from '../schemas/error.js'
import { healthExample } from '../schemas/examples.js'
import { HealthResponse } from '../schemas/health.js'
import { ref } from '../schemas/ref.js'
import { success } from '../schemas/success.js'
import type { Offer } from '../service/offer.js'
import type { ImageService } from '../service/service.js'

interface HealthParts {
  service: ImageService
  jobs: Jobs
}

/** Relative, so that they work behind a path prefix. @see https://www.rfc-editor.org/rfc/rfc8631 */
const DOCUMENTS = '<docs>; rel="service-doc", <openapi.json>; rel="service-desc"'

/** The states in which requests are taken. */
const TAKES_REQUESTS: ReadonlySet<string> = new Set<HealthResponse['status']>(['ready', 'holding'])

const Probe = Type.Object({ status: Type.String() })

/** GET /health: status for people; sizes, schedulers, defaults and limits for clients. */
export const healthRoute: FastifyPluginAsyncTypebox<HealthParts> = async (app, { service, jobs }) => {
  app.get(
    '/health',
    {
      config: { atOnce: true },
      schema: {
        tags: ['operations'],
        operationId: 'getHealth',
        summary: 'Status of the service, and what it offers',
        response: {
          200: success(ref(HealthResponse), 'Requests are accepted.', healthExample),
          503: success(ref(HealthResponse), 'The service accepts no requests now; `status` and `problem` say why.', {
            ...healthExample,
            status: 'draining'
          }),
          ...failures()
        }
      }
    },
    async (_request, reply) => {
      const health = describe(service, jobs)
      if (app.hasPlugin('openapi')) reply.header('link', DOCUMENTS)
      return reply.code(TAKES_REQUESTS.has(health.status) ? 200 : 503).send(health)
    }
  )
}

/** Probes for the kubelet (/health/live, /ready, /startup) and for KServe (/v2/health/live, /v2/health/ready). */
export const probeRoutes: FastifyPluginAsyncTypebox<Pick<HealthParts, 'service'>> = async (app, { service }) => {
  const probe = (path: string, operationId: string, summary: string, ok: () => boolean) =>
    app.get(
      path,
      {
        config: { atOnce: true },
        schema: {
          tags: ['operations'],
          operationId,
          summary,
          response: {
            200: success(Probe, 'Yes.', { status: 'ok' }),
            503: success(Probe, 'No.', { status: 'starting' }),
            ...failures()
          }
        }
      },
      async (_request, reply) => (ok() ? { status: 'ok' } : reply.code(503).send({ status: service.status.status }))
    )

  // An answer proves that the event loop runs. The supervisor restarts dead workers, so they must not fail this probe.
  probe('/health/live', 'isAlive', 'The process is alive', () => true)
  probe('/health/ready', 'isReady', 'Requests are accepted', () => TAKES_REQUESTS.has(service.status.status))
  probe(
    '/health/startup',
    'hasStarted',
    'A worker of each model has been ready once, or requests wait for one',
    () => service.holdsRequests || service.offers.length === service.models.length
  )
  // The same two under the paths of KServe's Open Inference Protocol.
  probe('/v2/health/live', 'serverLive', 'The process is alive (Open Inference Protocol)', () => true)
  probe('/v2/health/ready', 'serverReady', 'Requests are accepted (Open Inference Protocol)', () =>
    TAKES_REQUESTS.has(service.status.status)
  )
}

function describe(service: ImageService, { store }: Jobs): HealthResponse {
  const { status, problem, queued, workers } = service.status
  return {
    status,
    problem,
    version: service.version,
    uptime_seconds: Math.round(process.uptime()),
    ...offered(service.offer),
    models: service.models.map((model) => {
      const { requests, ...rest } = service.statusOfModel(model)
      return {
        name: model.name ?? null,
        ...rest,
        ...offered(model.offer),
        requests: { ...requests, held: service.heldFor(model), limit: service.queueLimitOfModel }
      }
    }),
    pictures: { formats: [...FORMATS], ...service.pictureLimits },
    requests: {
      in_flight: service.ledger.inFlight,
      queued,
      held: service.held,
      limit: service.queueLimit
    },
    workers,
    jobs: {
      store: store.kind,
      available: store.available,
      queued: store.counts.queued,
      running: store.counts.running,
      ended: store.counts.ended,
      limit: store.bounds.jobs,
      batches: store.records.counts.open
    }
  }
}

function offered(offer: Offer | undefined) {
  return {
    model: offer?.model ?? null,
    sizes: offer?.sizes ?? [],
    coming: offer?.compiling ?? [],
    schedulers: offer?.schedulers ?? [],
    presets: offer?.presets ?? [],
    features: offer?.features ?? [],
    coming_features: offer?.comingFeatures ?? [],
    defaults: offer?.defaults ?? null,
    limits: offer?.limits ?? null,
    max_chunks: offer?.maxChunks ?? null,
    coming_max_chunks: offer?.comingMaxChunks ?? null,
    max_controls: offer?.maxControls ?? null
  }
}
