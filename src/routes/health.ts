import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import type { Engine } from '../engine/engine.js'
import type { Defaults } from '../parameters.js'
import { failures } from '../schemas/error.js'
import { healthExample } from '../schemas/examples.js'
import { HealthResponse } from '../schemas/health.js'
import { ref } from '../schemas/ref.js'
import { limitsOf } from '../schemas/offered.js'
import { success } from '../schemas/success.js'
import { defaultsOf } from '../service/decisions.js'
import type { ImageService } from '../service/service.js'

interface HealthParts {
  engine: Engine
  service: ImageService
  defaults: Defaults
  version: string
}

/** Relative, for a service behind a prefix. @see https://www.rfc-editor.org/rfc/rfc8631 */
const DOCUMENTS = '<docs>; rel="service-doc", <openapi.json>; rel="service-desc"'

const Probe = Type.Object({ status: Type.String() })

/** GET /health: for people, and for clients that want to know what they may ask for. */
export const healthRoute: FastifyPluginAsyncTypebox<HealthParts> = async (app, parts) => {
  app.get(
    '/health',
    {
      config: { atOnce: true },
      schema: {
        tags: ['operations'],
        operationId: 'getHealth',
        summary: 'What the service is doing, and what it offers',
        response: { 200: success(ref(HealthResponse), 'Requests are accepted.', healthExample), 503: success(ref(HealthResponse), 'Requests are not accepted now; `status` and `problem` say why.', { ...healthExample, status: 'draining' }), ...failures() }
      }
    },
    async (_request, reply) => {
      const health = describe(parts)
      if (app.hasPlugin('openapi')) reply.header('link', DOCUMENTS)
      return reply.code(health.status === 'ready' ? 200 : 503).send(health)
    }
  )
}

/** The probes: of the kubelet (/health/live, /health/ready, /health/startup), and of KServe (/v2/health/live, /v2/health/ready). */
export const probeRoutes: FastifyPluginAsyncTypebox<{ engine: Engine }> = async (app, { engine }) => {
  const probe = (path: string, operationId: string, summary: string, ok: () => boolean) =>
    app.get(
      path,
      { config: { atOnce: true }, schema: { tags: ['operations'], operationId, summary, response: { 200: success(Probe, 'Yes.', { status: 'ok' }), 503: success(Probe, 'No.', { status: 'starting' }), ...failures() } } },
      async (_request, reply) => (ok() ? { status: 'ok' } : reply.code(503).send({ status: statusOf(engine) }))
    )

  // The event loop turns, or this would not be answered. A dead worker is the supervisor's business, not the kubelet's.
  probe('/health/live', 'isAlive', 'The process is alive', () => true)
  probe('/health/ready', 'isReady', 'Requests are accepted', () => engine.ready)
  probe('/health/startup', 'hasStarted', 'A worker has been ready once', () => engine.capabilities !== undefined)
  // The same two under the names of KServe's Open Inference Protocol.
  probe('/v2/health/live', 'serverLive', 'The process is alive (Open Inference Protocol)', () => true)
  probe('/v2/health/ready', 'serverReady', 'Requests are accepted (Open Inference Protocol)', () => engine.ready)
}

function statusOf(engine: Engine): HealthResponse['status'] {
  if (engine.draining) return 'draining'
  if (engine.ready) return 'ready'
  return engine.capabilities === undefined ? 'starting' : 'unavailable'
}

function describe({ engine, service, defaults, version }: HealthParts): HealthResponse {
  const { workers, workersExpected, queued } = engine.state
  const model = engine.capabilities
  return {
    status: statusOf(engine),
    problem: engine.problem ?? null,
    version,
    uptime_seconds: Math.round(process.uptime()),
    model: model?.model ?? null,
    sizes: model?.sizes ?? [],
    coming: model?.coming ?? [],
    schedulers: model?.schedulers ?? [],
    features: model?.features ?? [],
    defaults: model === undefined ? null : defaultsOf(model, defaults),
    limits: model === undefined ? null : limitsOf(model.limits),
    requests: { in_flight: service.ledger.inFlight, queued, limit: service.queueLimit },
    workers: {
      expected: workersExpected,
      ready: workers.length,
      list: workers.map(({ name, hello, heartbeat, heardAt }) => ({
        name,
        pid: hello.pid,
        devices: hello.devices.map(({ kind }) => kind),
        rows: hello.rows,
        rows_in_use: heartbeat?.rows_in_use ?? 0,
        steps_total: heartbeat?.steps_total ?? 0,
        silent_seconds: Math.round((performance.now() - heardAt) / 100) / 10
      }))
    }
  }
}
