import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { budgetWithin, MemoryBudget } from '../../src/memory.js'
import { loadOptions, packageRoot } from '../../src/gateway-options.js'
import { loadWebOptions } from '../../src/webapp/web-options.js'
import { everyContainer, holds, imageAndPod, imageOf } from './containers.js'
import { readDockerfile } from './dockerfile.js'
import {
  type BackendPolicy,
  type ConfigMap,
  type Container,
  type Deployment,
  type HttpRoute,
  INSTALL_MS,
  type Manifest,
  named,
  ofKind,
  overlays,
  parseManifests,
  type PodSpec,
  render,
  type Service,
  variablesOf
} from './manifests.js'
import { violations } from './policy.js'
import { gateway as gatewayProgram, unread, webapp as webProgram, worker as workerProgram } from './programs.js'

/** What src/main.ts takes after the drain to close sockets (CLOSE_MARGIN_MS). */
const CLOSE_MARGIN_S = 4
/** What GKE leaves to Pods on a spot node by default. */
const SPOT_GRACE_S = 15

describe.each(overlays)('k8s/overlays/%s', (folder) => {
  let manifests: Manifest[]

  beforeAll(async () => {
    manifests = parseManifests(await render(folder))
  }, INSTALL_MS)

  it('keeps the policy', () => {
    expect(violations(manifests)).toEqual([])
  })

  it('puts everything into one namespace that enforces the restricted profile', () => {
    const namespace = named(manifests, 'Namespace', 'easel')
    expect(namespace.metadata.labels).toMatchObject({ 'pod-security.kubernetes.io/enforce': 'restricted' })
    const elsewhere = manifests.filter(
      ({ kind, metadata }) =>
        !['Namespace', 'StorageClass', 'ComputeClass'].includes(kind) && metadata.namespace !== namespace.metadata.name
    )
    expect(elsewhere).toEqual([])
  })

  it('takes images that the Dockerfile has', () => {
    const stages = readDockerfile().map(({ name }) => name)
    for (const container of everyContainer(manifests)) expect(stages).toContain(imageOf(container))
  })
})

/** Those with a gateway and a worker in each Pod. */
const together = overlays.filter((folder) => !kustomizationOf(folder).includes('/apart\n'))

describe.each(together)('the Pod of k8s/overlays/%s', (folder) => {
  let manifests: Manifest[]
  let pod: PodSpec
  let gateway: Container
  let worker: Container

  beforeAll(async () => {
    manifests = parseManifests(await render(folder))
    pod = named<Deployment>(manifests, 'Deployment', 'easel').spec.template.spec
    ;[gateway, worker] = pod.containers as [Container, Container]
  }, INSTALL_MS)

  it('runs a gateway and a worker', () => {
    expect(pod.containers.map(({ name }) => name)).toEqual(['gateway', 'worker'])
    expect(imageOf(gateway)).toBe('gateway')
    const { 'google.com/tpu': tpus, 'nvidia.com/gpu': gpus } = worker.resources?.limits ?? {}
    expect(imageOf(worker)).toBe(tpus === undefined ? (gpus === undefined ? 'worker-cpu' : 'worker-cuda') : 'worker')
    // A node pulls no second image to fetch weights.
    for (const each of pod.initContainers ?? []) expect(imageOf(each)).toBe(imageOf(worker))
  })

  it('fetches a model, if it does, to where both of them look for it', () => {
    const fetchers = (pod.initContainers ?? []).filter(({ name }) => name === 'fetch-weights')
    const target = variablesOf(worker, manifests)['MODEL']
    expect(variablesOf(gateway, manifests)['MODEL']).toBe(target)
    for (const { command, args, volumeMounts } of fetchers) {
      expect(command).toEqual(['python', '-m', 'easel_worker.fetch'])
      expect(args).toEqual([expect.stringMatching(/^[\w.-]+\/[\w.-]+@[0-9a-f]{40}$/), `--to=${target}`])
      const mounts = [volumeMounts, worker.volumeMounts, gateway.volumeMounts].map(
        (list) => list?.find(({ mountPath }) => target?.startsWith(`${mountPath}/`))?.name
      )
      expect(mounts).toEqual(['models', 'models', 'models'])
    }
  })

  it('joins them by one socket on a memory volume', () => {
    const socket = variablesOf(gateway, manifests)['WORKER_ENDPOINT'] ?? ''
    expect(variablesOf(worker, manifests)['EASEL_CONNECT']).toBe(socket)
    const volumes = [gateway, worker].map(
      (container) => container.volumeMounts?.find(({ mountPath }) => socket.startsWith(`ipc://${mountPath}/`))?.name
    )
    expect(volumes).toEqual(['run', 'run'])
    expect(pod.volumes?.find(({ name }) => name === 'run')?.emptyDir?.medium).toBe('Memory')
  })

  it('leads the Service to the port that the gateway listens on, and not to the one for probes and metrics', () => {
    const { port, adminPort } = loadOptions([], imageAndPod(gateway, manifests))
    expect(gateway.ports).toEqual([
      { name: 'http', containerPort: port },
      { name: 'admin', containerPort: adminPort }
    ])
    expect(named<Service>(manifests, 'Service', 'easel').spec).toMatchObject({
      type: 'ClusterIP',
      ports: [{ port: 8000, targetPort: 'http' }]
    })
  })

  it('gives a worker its time to compile', () => {
    const { periodSeconds = 10, failureThreshold = 3 } = gateway.startupProbe ?? {}
    expect(periodSeconds * failureThreshold).toBeGreaterThanOrEqual(loadOptions([], {}).startTimeout)
  })

  it('does not give a rollout up while a start may still succeed', () => {
    const { periodSeconds = 10, failureThreshold = 3 } = gateway.startupProbe ?? {}
    const { progressDeadlineSeconds = 600 } = named<Deployment>(manifests, 'Deployment', 'easel').spec
    // Before the probe begins: a node, the images, the weights.
    expect(progressDeadlineSeconds).toBeGreaterThanOrEqual(periodSeconds * failureThreshold + 1800)
  })

  it('leaves the Service, drains and closes within the time that the node leaves', () => {
    const grace = pod.terminationGracePeriodSeconds ?? 30
    const given = pod.nodeSelector?.['cloud.google.com/gke-spot'] === 'true' ? Math.min(SPOT_GRACE_S, grace) : grace
    const linger = gateway.lifecycle?.preStop?.sleep?.seconds ?? 0
    const drain = Number(variablesOf(gateway, manifests)['DRAIN_TIMEOUT'])
    expect(linger).toBeGreaterThan(0)
    expect(linger + drain + CLOSE_MARGIN_S).toBeLessThanOrEqual(given)
    // Both get their SIGTERM at once: a worker that leaves early leaves the gateway without one.
    expect(worker.lifecycle).toEqual(gateway.lifecycle)
    expect(Number(variablesOf(worker, manifests)['DRAIN_GRACE'])).toBeLessThan(drain)
  })

  it('sets only variables that somebody reads', () => {
    const shared = ofKind<ConfigMap>(manifests, 'ConfigMap')
      .filter(({ metadata }) => metadata.name.startsWith('easel-settings'))
      .flatMap(({ data }) => Object.keys(data))
    const own = (container: Container) => (container.env ?? []).map(({ name }) => name)
    expect(shared).not.toEqual([])
    // The settings are for both programs, each takes what it knows.
    expect(unread(shared, [gatewayProgram, workerProgram])).toEqual([])
    expect(unread(own(gateway), [gatewayProgram])).toEqual([])
    expect(unread(own(worker), [workerProgram])).toEqual([])
    expect(pod.initContainers?.flatMap(own) ?? []).toEqual([])
  })

  it('sets values that both programs take', () => {
    expect(() => gatewayProgram.accept(imageAndPod(gateway, manifests))).not.toThrow()
    expect(() => workerProgram.accept(imageAndPod(worker, manifests))).not.toThrow()
  })

  it('leaves the gateway a core of its own beside the encoders, and memory for what it makes', () => {
    const env = imageAndPod(gateway, manifests)
    const { cpu, memory } = gateway.resources?.limits ?? {}
    expect(loadOptions([], env).imageEncoders).toBe(Number(cpu) - 1)
    // The budget follows the container's limit, so nobody has to set it; it has room for 64 images of 1024x1024.
    expect(env).not.toHaveProperty('MEMORY_BUDGET')
    const budget = new MemoryBudget(budgetWithin(Number(String(memory).replace('Gi', '')) * 2 ** 30))
    expect(budget.most('pixels')).toBeGreaterThanOrEqual(64 * 3 * 1024 * 1024)
  })

  it('has the model where both containers look for it', () => {
    const model = imageAndPod(gateway, manifests)['MODEL'] ?? ''
    expect(imageAndPod(worker, manifests)['MODEL']).toBe(model)
    const without = [gateway, worker].filter((container) => {
      const mounted = container.volumeMounts?.some(
        ({ mountPath, readOnly }) => model.startsWith(`${mountPath}/`) && readOnly
      )
      return !mounted && !holds(imageOf(container), model)
    })
    expect(without).toEqual([])
  })

  it('lets them write where they are told to', () => {
    const cache = variablesOf(worker, manifests)['COMPILE_CACHE'] ?? ''
    expect(worker.volumeMounts).toContainEqual({ name: 'compile-cache', mountPath: cache })
    for (const container of [gateway, worker])
      expect(container.volumeMounts?.map(({ mountPath }) => mountPath)).toContain('/tmp')
  })
})

describe.each(overlays.filter((folder) => kustomizationOf(folder).includes('/webapp\n')))(
  'the page of k8s/overlays/%s',
  (folder) => {
    let manifests: Manifest[]
    let webapp: Container

    beforeAll(async () => {
      manifests = parseManifests(await render(folder))
      webapp = named<Deployment>(manifests, 'Deployment', 'easel-webapp').spec.template.spec.containers[0] as Container
    }, INSTALL_MS)

    it('is on a port of the world outside, which leads to where it listens', () => {
      const type = ofKind(manifests, 'Gateway').length > 0 ? 'ClusterIP' : 'LoadBalancer'
      expect(named<Service>(manifests, 'Service', 'easel-webapp').spec).toMatchObject({
        type,
        ports: [{ port: 8080, targetPort: 'http' }]
      })
      const options = loadWebOptions([], imageAndPod(webapp, manifests))
      expect(webapp.ports).toEqual([{ name: 'http', containerPort: options.port }])
      expect(options.host).toBe('0.0.0.0')
    })

    it('finds the gateway by its Service', () => {
      const { hostname, port } = loadWebOptions([], imageAndPod(webapp, manifests)).serverUrl
      expect(
        named<Service>(manifests, 'Service', hostname).spec.ports.map((service) => String(service.port))
      ).toContain(port)
    })

    it('leaves the Service, drains and closes within its time', () => {
      const { terminationGracePeriodSeconds: grace = 30 } = named<Deployment>(manifests, 'Deployment', 'easel-webapp')
        .spec.template.spec
      const linger = webapp.lifecycle?.preStop?.sleep?.seconds ?? 0
      expect(linger).toBeGreaterThan(0)
      expect(
        linger + loadWebOptions([], imageAndPod(webapp, manifests)).drainTimeout + CLOSE_MARGIN_S
      ).toBeLessThanOrEqual(grace)
    })

    it('sets only variables that it reads', () => {
      expect(
        unread(
          (webapp.env ?? []).map(({ name }) => name),
          [webProgram]
        )
      ).toEqual([])
    })
  }
)

describe.each(['gke-https', 'gke-apart-https'])('the Google load balancer of k8s/overlays/%s', (folder) => {
  let manifests: Manifest[]
  beforeAll(async () => {
    manifests = parseManifests(await render(folder))
  }, INSTALL_MS)

  it('lets an answer take as long as the gateway does', () => {
    const { timeoutSec = 30 } = named<BackendPolicy>(manifests, 'GCPBackendPolicy', 'easel-webapp').spec.default
    const { requestTimeout, receiveTimeout } = loadOptions(
      [],
      imageAndPod(named<Deployment>(manifests, 'Deployment', 'easel').spec.template.spec.containers[0]!, manifests)
    )
    expect(timeoutSec).toBeGreaterThanOrEqual(requestTimeout + receiveTimeout)
  })

  it('lets a page that leaves finish its answers', () => {
    const { terminationGracePeriodSeconds = 30 } = named<Deployment>(manifests, 'Deployment', 'easel-webapp').spec
      .template.spec
    expect(
      named<BackendPolicy>(manifests, 'GCPBackendPolicy', 'easel-webapp').spec.default.connectionDraining
        ?.drainingTimeoutSec
    ).toBeGreaterThanOrEqual(terminationGracePeriodSeconds)
  })

  it('sends plain HTTP on to HTTPS', () => {
    const { rules } = named<HttpRoute>(manifests, 'HTTPRoute', 'easel-webapp-to-https').spec
    expect(rules).toEqual([{ filters: [{ type: 'RequestRedirect', requestRedirect: { scheme: 'https' } }] }])
  })
})

describe.each([
  ['tpu-v5e-1x1', 'tpu-v5-lite-podslice', '1x1', 1, true],
  ['tpu-v5e-2x4', 'tpu-v5-lite-podslice', '2x4', 8, true],
  ['tpu-v6e-1x1', 'tpu-v6e-slice', '1x1', 1, false]
] as const)('k8s/overlays/%s', (folder, accelerator, topology, chips, spot) => {
  it(
    'asks for the node and its chips',
    async () => {
      const { spec } = named<Deployment>(parseManifests(await render(folder)), 'Deployment', 'easel')
      const [gateway, worker] = spec.template.spec.containers
      expect(spec.template.spec.nodeSelector).toEqual({
        'cloud.google.com/gke-tpu-accelerator': accelerator,
        'cloud.google.com/gke-tpu-topology': topology,
        ...(spot && { 'cloud.google.com/gke-spot': 'true' })
      })
      expect(new Set(spec.template.spec.tolerations?.map(({ key }) => key))).toEqual(
        new Set(['google.com/tpu', ...(spot ? ['cloud.google.com/gke-spot'] : [])])
      )
      expect(worker?.resources).toMatchObject({
        requests: { 'google.com/tpu': chips },
        limits: { 'google.com/tpu': chips }
      })
      expect(gateway?.resources?.limits).not.toHaveProperty(['google.com/tpu'])
      expect(spec.strategy?.rollingUpdate?.maxSurge).toBe(0)
    },
    INSTALL_MS
  )
})

describe('k8s/overlays/nvidia-l4', () => {
  it(
    'asks for the node and its GPU',
    async () => {
      const { spec } = named<Deployment>(parseManifests(await render('nvidia-l4')), 'Deployment', 'easel')
      const [gateway, worker] = spec.template.spec.containers
      expect(spec.template.spec.nodeSelector).toEqual({ 'cloud.google.com/gke-accelerator': 'nvidia-l4' })
      expect(spec.template.spec.tolerations).toEqual([
        { key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }
      ])
      expect(worker?.resources).toMatchObject({ requests: { 'nvidia.com/gpu': 1 }, limits: { 'nvidia.com/gpu': 1 } })
      expect(gateway?.resources?.limits).not.toHaveProperty(['nvidia.com/gpu'])
      expect(spec.strategy?.rollingUpdate?.maxSurge).toBe(0)
    },
    INSTALL_MS
  )
})

it('a setting that a program does not take is found', () => {
  expect(() => gatewayProgram.accept({ QUEUE_LIMIT: 'many' })).toThrow('QUEUE_LIMIT')
  expect(() => webProgram.accept({ SERVER_URL: 'easel' })).toThrow('SERVER_URL')
  expect(() => workerProgram.accept({ SIZES: 'large' })).toThrow('SIZES')
})

describe('k8s/components', () => {
  const components = readdirSync(join(packageRoot, 'k8s/components'))

  it('are all part of an overlay, and so checked', () => {
    const texts = [
      ...overlays.map(kustomizationOf),
      ...components.map((name) => readFileSync(join(packageRoot, 'k8s/components', name, 'kustomization.yaml'), 'utf8'))
    ].join()
    expect(components.filter((name) => !texts.includes(`/${name}\n`))).toEqual([])
  })

  it('leave no file lying about', () => {
    const loose = components.flatMap((name) => {
      const folder = join(packageRoot, 'k8s/components', name)
      const kustomization = readFileSync(join(folder, 'kustomization.yaml'), 'utf8')
      return readdirSync(folder)
        .filter((file) => file !== 'kustomization.yaml' && !kustomization.includes(file))
        .map((file) => `${name}/${file}`)
    })
    expect(loose).toEqual([])
  })
})

function kustomizationOf(overlay: string): string {
  const file = join(packageRoot, 'k8s/overlays', overlay, 'kustomization.yaml')
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}
