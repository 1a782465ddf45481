import { pino } from 'pino'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import { ValkeyJobStore } from '../../src/jobs/valkey/store.js'
import { commandsOf } from '../docs/shell.js'
import { BOUNDS, job } from '../jobs/contract.js'
import { startValkey } from '../support/valkey.mjs'
import { until } from '../support/wait.js'
import { imageAndPod } from './containers.js'
import {
  type ConfigMap,
  type Deployment,
  INSTALL_MS,
  type Manifest,
  named,
  type NetworkPolicy,
  ofKind,
  parseManifests,
  render,
  selects,
  type Service,
  type Workload,
  workloads
} from './manifests.js'

/** A Valkey server's directives, in order. */
function directives(text: string): [string, string][] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const space = line.indexOf(' ')
      return [line.slice(0, space), line.slice(space + 1)]
    })
}

/** Keys of Secrets that a Pod needs, as NAME/KEY. */
function secretKeys(manifests: readonly Manifest[]): Set<string> {
  const pods = workloads(manifests).map(({ spec }) => spec.template.spec)
  return new Set(
    pods.flatMap(({ containers, volumes = [] }) => [
      ...containers.flatMap(({ env = [] }) =>
        env.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef ?? []).map(({ name, key }) => `${name}/${key}`)
      ),
      ...volumes.flatMap(({ secret }) => (secret?.items ?? []).map(({ key }) => `${secret?.secretName}/${key}`))
    ])
  )
}

/** Values that docs/deploy-gke.md writes into the Secret of the store, for each time that it makes it. */
const SECRETS = commandsOf('docs/deploy-gke.md', 'kubectl')
  .filter((command) => command.includes('create secret generic easel-job-store'))
  .map((command) =>
    Object.fromEntries(
      [...command.matchAll(/--from-literal=([\w.]+)="([^"]*)"/g)].map(([, key, value]) => [key, value])
    )
  )

describe('k8s/overlays/valkey', () => {
  let manifests: Manifest[]
  let server: Workload
  let text: string
  beforeAll(async () => {
    manifests = parseManifests(await render('valkey'))
    server = named<Workload>(manifests, 'StatefulSet', 'easel-valkey')
    const { volumes = [] } = server.spec.template.spec
    const map = volumes.find(({ configMap }) => configMap !== undefined)!.configMap!.name
    text = named<ConfigMap>(manifests, 'ConfigMap', map).data['valkey.conf']!
  }, INSTALL_MS)

  it('leads the gateway to the server, by the address that the page puts into the Secret', () => {
    const [inside] = SECRETS
    const address = new URL(inside!['url']!.replace('$JOB_PASSWORD', 'secret'))
    const service = named<Service>(manifests, 'Service', address.hostname)
    expect(service.spec.ports.map(({ port }) => String(port))).toEqual([address.port])
    expect(selects(service.spec.selector, server.spec.template.metadata.labels)).toBe(true)
    expect(inside!['password.conf']).toBe('requirepass $JOB_PASSWORD')
    expect([...secretKeys(manifests)].toSorted()).toEqual(['easel-job-store/password.conf', 'easel-job-store/url'])
  })

  it('lets only the gateway reach it, and the gateway nothing else', () => {
    const gateway = named<Deployment>(manifests, 'Deployment', 'easel').spec.template.metadata.labels
    const policies = ofKind<NetworkPolicy>(manifests, 'NetworkPolicy')
    const { ingress = [], egress } = policies.find(({ spec }) =>
      selects(spec.podSelector.matchLabels, server.spec.template.metadata.labels)
    )!.spec
    expect(egress).toEqual([])
    expect(ingress).toEqual([{ from: [{ podSelector: expect.anything() as object }], ports: [{ port: 'valkey' }] }])
    expect(selects(ingress[0]!.from![0]!.podSelector!.matchLabels, gateway)).toBe(true)
    const out = policies
      .filter(({ spec }) => selects(spec.podSelector.matchLabels, gateway))
      .flatMap(({ spec }) => spec.egress ?? [])
    // Beside the name server.
    expect(out.map(({ to, ports }) => [to?.length, ports!.map(({ port }) => port)])).toEqual([
      [undefined, [53, 53]],
      [1, ['valkey']]
    ])
    expect(selects(out[1]!.to![0]!.podSelector!.matchLabels, server.spec.template.metadata.labels)).toBe(true)
  })

  it('leaves a quarter of its memory to more than jobs, and its container twice that', () => {
    const gateway = named<Deployment>(manifests, 'Deployment', 'easel').spec.template.spec.containers[0]!
    const { jobBytes } = loadOptions([], imageAndPod(gateway, manifests))
    const memory = Number(/^maxmemory (\d+)gb$/m.exec(text)![1]) * 2 ** 30
    expect(jobBytes).toBe(memory * 0.75)
    const [container] = server.spec.template.spec.containers
    expect(container!.resources?.limits?.['memory']).toBe(`${(2 * memory) / 2 ** 30}Gi`)
  })

  it('configures a server that jobs can be kept in, with the password and across a restart', async () => {
    const [container] = server.spec.template.spec.containers
    const mounts = container!.volumeMounts!.map(({ mountPath }) => mountPath)
    expect(container!.command).toEqual(['valkey-server', '/etc/valkey/valkey.conf'])
    const all = directives(text)
    const { include = '', dir = '', port = '' } = Object.fromEntries(all)
    expect(mounts).toEqual(expect.arrayContaining(['/etc/valkey', include.replace('/password.conf', ''), dir]))
    expect(container!.ports).toEqual([{ name: 'valkey', containerPort: Number(port) }])
    const own = all.filter(([name]) => !['include', 'dir', 'port', 'bind'].includes(name))
    const [, word = ''] = SECRETS[0]!['password.conf']!.split(' ')
    const valkey = await startValkey(
      ...own.flatMap(([name, value]) => [`--${name}`, value === '""' ? '' : value]),
      '--requirepass',
      word
    )
    onTestFinished(() => valkey.stop())
    const address = { host: '127.0.0.1', port: valkey.port, db: 0, username: undefined, tls: false }
    const open = async (password: string | undefined) => {
      const lines: string[] = []
      const log = pino({}, { write: (line: string) => void lines.push(line) })
      const store = new ValkeyJobStore({ address: { ...address, password }, bounds: BOUNDS, replicas: 0, log })
      onTestFinished(() => store.close())
      return { store, lines }
    }
    const stranger = await open(undefined)
    await until('a stranger is refused', () => stranger.lines.some((line) => line.includes('NOAUTH')))
    const { store, lines } = await open(word)
    await until('the store answers', () => store.available)
    await store.submit(job('a'))
    await valkey.kill()
    await valkey.start()
    await until('the store answers', () => store.available)
    expect(await store.find({ scope: '', id: 'a' })).toMatchObject({ status: 'queued' })
    expect(lines.join()).not.toContain('maxmemory-policy')
  })
})

describe('k8s/overlays/gke-jobs', () => {
  it(
    'wants the Secret that the page makes for a server outside, and may reach it',
    async () => {
      const manifests = parseManifests(await render('gke-jobs'))
      const wanted = [...secretKeys(manifests)].filter((key) => key.startsWith('easel-job-store/'))
      expect(wanted).toEqual(['easel-job-store/url'])
      const outside = SECRETS.at(-1)!
      expect(Object.keys(outside)).toEqual(['url'])
      const { egress = [] } = named<NetworkPolicy>(manifests, 'NetworkPolicy', 'easel-job-store').spec
      expect(egress.flatMap(({ ports = [] }) => ports.map(({ port }) => port))).toEqual([53, 53, 6379, 6378])
    },
    INSTALL_MS
  )
})
