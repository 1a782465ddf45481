import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { buildWebApp } from '../../src/webapp/server.js'
import { startReadyServer } from '../support/server.js'
import { type Container, type Deployment, INSTALL_MS, ofKind, overlays, parseManifests, type PodMonitoring, render } from './manifests.js'

/** The paths that the cluster asks for, by the name of the container that has to answer. */
const paths = new Map<string, Set<string>>()

beforeAll(async () => {
  for (const overlay of overlays) {
    const manifests = parseManifests(await render(overlay))
    for (const { spec } of ofKind<Deployment>(manifests, 'Deployment')) for (const container of spec.template.spec.containers) note(container)
    for (const { spec } of ofKind<PodMonitoring>(manifests, 'PodMonitoring')) for (const { path } of spec.endpoints) paths.get('gateway')?.add(path)
  }
}, INSTALL_MS)

function note({ name, startupProbe, readinessProbe, livenessProbe }: Container): void {
  const known = paths.get(name) ?? new Set<string>()
  for (const probe of [startupProbe, readinessProbe, livenessProbe]) if (probe?.httpGet) known.add(probe.httpGet.path)
  paths.set(name, known)
}

describe('what the manifests ask for', () => {
  it('is answered by a gateway with a worker', async () => {
    const { url } = await startReadyServer()
    const asked = [...paths.get('gateway') ?? []]
    expect(asked).toEqual(expect.arrayContaining(['/health/startup', '/health/ready', '/health/live', '/metrics']))
    expect(await statuses(url, asked)).toEqual(asked.map((path) => [path, 200]))
    expect(await statuses(url, ['/health/no-such-probe'])).toEqual([['/health/no-such-probe', 404]])
  })

  it('is answered by the page', async () => {
    const app = await buildWebApp({ serverUrl: new URL('http://127.0.0.1:9'), log: pino({ level: 'silent' }) })
    onTestFinished(() => app.close())
    await app.listen({ host: '127.0.0.1', port: 0 })
    const asked = [...paths.get('webapp') ?? []]
    expect(asked).not.toEqual([])
    expect(await statuses(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`, asked)).toEqual(asked.map((path) => [path, 200]))
  })

  it('is nothing of the worker, which speaks no HTTP', () => {
    expect([...paths.get('worker') ?? ['?']]).toEqual([])
  })
})

function statuses(url: string, asked: readonly string[]): Promise<[string, number][]> {
  return Promise.all(asked.map(async (path): Promise<[string, number]> => [path, (await fetch(`${url}${path}`)).status]))
}
