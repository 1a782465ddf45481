import type { FastifyInstance } from 'fastify'
import type { AddressInfo } from 'node:net'
import { beforeAll, describe, expect, it } from 'vitest'
import { startReadyServer } from '../support/server.js'
import { startWeb } from '../support/web.js'
import {
  type Container,
  type Deployment,
  type HealthCheckPolicy,
  INSTALL_MS,
  ofKind,
  overlays,
  parseManifests,
  type PodMonitoring,
  render
} from './manifests.js'

/** What the cluster asks for, as `port path`, by the name of the container that has to answer. */
const asked = new Map<string, Set<string>>()

beforeAll(async () => {
  for (const overlay of overlays) {
    const manifests = parseManifests(await render(overlay))
    for (const { spec } of ofKind<Deployment>(manifests, 'Deployment'))
      for (const container of spec.template.spec.containers) note(container)
    for (const { spec } of ofKind<PodMonitoring>(manifests, 'PodMonitoring'))
      for (const { port, path } of spec.endpoints) asked.get('gateway')?.add(`${port} ${path}`)
    // The balancer asks the port that it sends to.
    for (const { spec } of ofKind<HealthCheckPolicy>(manifests, 'HealthCheckPolicy'))
      asked.get('webapp')?.add(`http ${spec.default.config?.httpHealthCheck?.requestPath}`)
  }
}, INSTALL_MS)

function note({ name, startupProbe, readinessProbe, livenessProbe }: Container): void {
  const known = asked.get(name) ?? new Set<string>()
  for (const probe of [startupProbe, readinessProbe, livenessProbe])
    if (probe?.httpGet) known.add(`${probe.httpGet.port} ${probe.httpGet.path}`)
  asked.set(name, known)
}

describe('what the manifests ask for', () => {
  it('is answered by a gateway with a worker, on the port that they name', async () => {
    const { app, admin } = await startReadyServer({ ADMIN_PORT: '0' })
    const answers = await ask('gateway', { http: app, admin: await listening(admin!) })
    expect(Object.keys(answers)).toEqual(
      expect.arrayContaining(['admin /health/startup', 'admin /health/ready', 'admin /health/live', 'admin /metrics'])
    )
    expect(new Set(Object.values(answers))).toEqual(new Set([200]))
    expect(await status(admin!, '/health/no-such-probe')).toBe(404)
  })

  it('is answered by the page', async () => {
    const { app } = await startWeb('http://127.0.0.1:9')
    expect(Object.values(await ask('webapp', { http: await listening(app) }))).toEqual([200])
  })

  it('is nothing of the worker, which speaks no HTTP', () => {
    expect([...(asked.get('worker') ?? ['?'])]).toEqual([])
  })
})

async function listening(app: FastifyInstance): Promise<FastifyInstance> {
  if (!app.server.listening) await app.listen({ host: '127.0.0.1', port: 0 })
  return app
}

async function status(app: FastifyInstance, path: string): Promise<number> {
  return (await fetch(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}${path}`)).status
}

/** The status of every answer that a container owes, by `port path`. */
async function ask(container: string, ports: Record<string, FastifyInstance>): Promise<Record<string, number>> {
  const all = [...(asked.get(container) ?? [])].map(async (question): Promise<[string, number]> => {
    const [port = '', path = ''] = question.split(' ')
    const app = ports[port]
    if (app === undefined) throw new Error(`${container} has no port ${port}`)
    return [question, await status(app, path)]
  })
  return Object.fromEntries(await Promise.all(all))
}
