import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { checkers } from '../../scripts/lib/deploy-tools.mjs'
import { loadConfig } from '../../src/config.js'
import { environmentOf, readDockerfile } from './dockerfile.js'
import { type ConfigMap, type Container, type Deployment, INSTALL_MS, type Manifest, ofKind, only, parseManifests, type PodSpec, readManifest, render, type Service, variablesOf } from './manifests.js'
import { violations } from './policy.js'
import { gateway as gatewayProgram, unread, worker as workerProgram } from './programs.js'

/** The minor versions whose schemas the manifests have to fit. */
const KUBERNETES = ['1.33', '1.36']
/** What src/main.ts takes after the drain to close sockets (CLOSE_MARGIN_MS). */
const CLOSE_MARGIN_S = 4
/** What GKE leaves to Pods on a spot node by default. */
const SPOT_GRACE_S = 15

describe.each(['base', 'overlays/tpu-v5e-1x1'])('k8s/%s', (folder) => {
  let text: string
  let manifests: Manifest[]
  let pod: PodSpec
  let gateway: Container
  let worker: Container

  beforeAll(async () => {
    text = await render(folder)
    manifests = parseManifests(text)
    pod = only<Deployment>(manifests, 'Deployment').spec.template.spec
    ;[gateway, worker] = pod.containers as [Container, Container]
  }, INSTALL_MS)

  it.each(KUBERNETES)('is valid for Kubernetes %s', async (version) => {
    const { python } = await checkers()
    const args = ['-m', 'kubernetes_validate', '--strict', '--kubernetes-version', version, '-']
    const { status, stdout, stderr } = spawnSync(python, args, { input: text, encoding: 'utf8' })
    expect(stdout + stderr).not.toMatch(/ERROR|WARN|FATAL/)
    expect(stdout.match(/passed/g)).toHaveLength(manifests.length)
    expect(status).toBe(0)
  }, INSTALL_MS)

  it('keeps the policy', () => {
    expect(violations(manifests)).toEqual([])
  })

  it('puts everything into one namespace that enforces the restricted profile', () => {
    const namespace = only(manifests, 'Namespace')
    expect(namespace.metadata.labels).toMatchObject({ 'pod-security.kubernetes.io/enforce': 'restricted' })
    const elsewhere = manifests.filter(({ kind, metadata }) => kind !== 'Namespace' && metadata.namespace !== namespace.metadata.name)
    expect(elsewhere).toEqual([])
  })

  it('runs a gateway and a worker in one Pod, from the images of that name', () => {
    expect(pod.containers.map(({ name }) => name)).toEqual(['gateway', 'worker'])
    expect(gateway.image).toMatch(/\/gateway:[^/]+$/)
    expect(worker.image).toMatch(/\/worker:[^/]+$/)
  })

  it('joins them by one socket on a memory volume', () => {
    const socket = variablesOf(gateway, manifests)['WORKER_ENDPOINT'] ?? ''
    expect(variablesOf(worker, manifests)['EASEL_CONNECT']).toBe(socket)
    const volumes = [gateway, worker].map((container) => container.volumeMounts?.find(({ mountPath }) => socket.startsWith(`ipc://${mountPath}/`))?.name)
    expect(volumes).toEqual(['run', 'run'])
    expect(pod.volumes?.find(({ name }) => name === 'run')?.emptyDir?.medium).toBe('Memory')
  })

  it('leads the Service to the port that the gateway listens on', () => {
    const port = loadConfig([], imageAndPod('gateway', gateway, manifests)).port
    expect(gateway.ports).toEqual([{ name: 'http', containerPort: port }])
    expect(only<Service>(manifests, 'Service').spec).toMatchObject({ type: 'ClusterIP', ports: [{ port: 8000, targetPort: 'http' }] })
  })

  it('probes the paths made for it, and gives a worker its time to compile', () => {
    expect(gateway.startupProbe?.httpGet).toEqual({ path: '/health/startup', port: 'http' })
    expect(gateway.readinessProbe?.httpGet).toEqual({ path: '/health/ready', port: 'http' })
    expect(gateway.livenessProbe?.httpGet).toEqual({ path: '/health/live', port: 'http' })
    const { periodSeconds = 10, failureThreshold = 3 } = gateway.startupProbe ?? {}
    expect(periodSeconds * failureThreshold).toBeGreaterThanOrEqual(loadConfig([], {}).startTimeout)
  })

  it('drains within the time that the node leaves', () => {
    const drain = Number(variablesOf(gateway, manifests)['DRAIN_TIMEOUT'])
    const grace = pod.nodeSelector?.['cloud.google.com/gke-spot'] === 'true' ? SPOT_GRACE_S : (pod.terminationGracePeriodSeconds ?? 30)
    expect(drain + CLOSE_MARGIN_S).toBeLessThanOrEqual(grace)
    expect(drain + CLOSE_MARGIN_S).toBeLessThanOrEqual(pod.terminationGracePeriodSeconds ?? 30)
    expect(Number(variablesOf(worker, manifests)['DRAIN_GRACE'])).toBeLessThan(drain)
  })

  it('sets only variables that somebody reads', () => {
    const shared = ofKind<ConfigMap>(manifests, 'ConfigMap').flatMap(({ data }) => Object.keys(data))
    const own = (container: Container) => (container.env ?? []).map(({ name }) => name)
    // The settings are for both programs, each takes what it knows.
    expect(unread(shared, [gatewayProgram, workerProgram])).toEqual([])
    expect(unread(own(gateway), [gatewayProgram])).toEqual([])
    expect(unread(own(worker), [workerProgram])).toEqual([])
  })

  it('sets values that both programs take', () => {
    expect(() => gatewayProgram.accept(imageAndPod('gateway', gateway, manifests))).not.toThrow()
    expect(() => workerProgram.accept(imageAndPod('worker', worker, manifests))).not.toThrow()
    expect(() => workerProgram.accept({ ...imageAndPod('worker', worker, manifests), SIZES: 'large' })).toThrow('SIZES')
  })

  it('has the model where both containers look for it', () => {
    const model = imageAndPod('gateway', gateway, manifests)['MODEL'] ?? ''
    expect(imageAndPod('worker', worker, manifests)['MODEL']).toBe(model)
    const without = [gateway, worker].filter((container) => {
      const mounted = container.volumeMounts?.some(({ mountPath }) => model.startsWith(`${mountPath}/`))
      const copied = readDockerfile().find(({ name }) => name === container.name)?.copies.some(({ target }) => resolve('/opt/easel', target) === model)
      return !mounted && !copied
    })
    expect(without).toEqual([])
  })

  it('lets them write where they are told to', () => {
    const cache = variablesOf(worker, manifests)['COMPILE_CACHE'] ?? ''
    expect(worker.volumeMounts).toContainEqual({ name: 'compile-cache', mountPath: cache })
    for (const container of [gateway, worker]) expect(container.volumeMounts?.map(({ mountPath }) => mountPath)).toContain('/tmp')
  })
})

describe('k8s/overlays/tpu-v5e-1x1', () => {
  it('takes one v5e chip of a spot node', async () => {
    const { spec } = only<Deployment>(parseManifests(await render('overlays/tpu-v5e-1x1')), 'Deployment')
    const [gateway, worker] = spec.template.spec.containers
    expect(spec.template.spec.nodeSelector).toEqual({
      'cloud.google.com/gke-tpu-accelerator': 'tpu-v5-lite-podslice',
      'cloud.google.com/gke-tpu-topology': '1x1',
      'cloud.google.com/gke-spot': 'true'
    })
    expect(spec.template.spec.tolerations?.map(({ key }) => key)).toEqual(['google.com/tpu', 'cloud.google.com/gke-spot'])
    expect(worker?.resources).toMatchObject({ requests: { 'google.com/tpu': 1 }, limits: { 'google.com/tpu': 1 } })
    expect(gateway?.resources?.limits).not.toHaveProperty(['google.com/tpu'])
    expect(spec.strategy?.rollingUpdate?.maxSurge).toBe(0)
  })

  it('has a loader for its weights that the namespace admits', async () => {
    const manifests = parseManifests(await render('overlays/tpu-v5e-1x1'))
    const loader = readManifest('overlays/tpu-v5e-1x1/weights-loader.yaml')
    expect(violations([...loader, ...ofKind(manifests, 'PersistentVolumeClaim')])).toEqual([])
    expect(only(loader, 'Pod').metadata.namespace).toBe(only(manifests, 'Namespace').metadata.name)
  })
})

/** What the process in a container finds in its environment; the Pod's values win over the image's. */
function imageAndPod(target: string, container: Container, manifests: readonly Manifest[]): Record<string, string> {
  const image = environmentOf(readDockerfile(), target)
  // The image's PATH leads to its own Python, which is not on this machine.
  delete image['PATH']
  return { ...image, ...variablesOf(container, manifests) }
}
