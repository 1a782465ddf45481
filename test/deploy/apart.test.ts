import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { makeKeys } from '../../scripts/curve-keys.mjs'
import { loadOptions } from '../../src/gateway-options.js'
import { imageAndPod } from './containers.js'
import {
  type ComputeClass,
  type Container,
  type Deployment,
  INSTALL_MS,
  type Manifest,
  named,
  type NetworkPolicy,
  parseManifests,
  type PodSpec,
  render,
  type ScaledObject,
  type Service,
  variablesOf
} from './manifests.js'
import { violations } from './policy.js'
import { gateway as gatewayProgram, unread, worker as workerProgram } from './programs.js'

/** What src/main.ts takes after the drain to close sockets (CLOSE_MARGIN_MS). */
const CLOSE_MARGIN_S = 4
/** What a worker takes after its last image to close: sending what is left takes 2 s at most (LINGER_S). */
const WORKER_CLOSE_S = 5

describe.each(['gke-apart', 'gke-apart-https'])('k8s/overlays/%s', (folder) => {
  let manifests: Manifest[]
  let gatewayOf: Deployment
  let workerOf: Deployment
  let pod: PodSpec
  let gateway: Container
  let worker: Container

  beforeAll(async () => {
    manifests = parseManifests(await render(folder))
    gatewayOf = named<Deployment>(manifests, 'Deployment', 'easel')
    workerOf = named<Deployment>(manifests, 'Deployment', 'easel-worker')
    pod = workerOf.spec.template.spec
    ;[gateway, worker] = [gatewayOf.spec.template.spec.containers[0]!, pod.containers[0]!]
  }, INSTALL_MS)

  it('has the gateway on any node, and the workers on chips', () => {
    const { nodeSelector, containers } = gatewayOf.spec.template.spec
    expect(nodeSelector ?? {}).toEqual({})
    expect(containers.map(({ name }) => name)).toEqual(['gateway'])
    expect(gateway.resources?.limits).not.toHaveProperty(['google.com/tpu'])
    expect(pod.containers.map(({ name }) => name)).toEqual(['worker'])
    const classes = named<ComputeClass>(manifests, 'ComputeClass', 'easel-v5e')
    // Another selector of nodes would contradict the class.
    expect(pod.nodeSelector).toEqual({ 'cloud.google.com/compute-class': classes.metadata.name })
    for (const { tpu } of classes.spec.priorities)
      expect([tpu?.count, tpu?.topology]).toEqual([worker.resources?.limits?.['google.com/tpu'], '1x1'])
  })

  it('takes spot nodes first, then flex-start, then on demand', () => {
    const { priorities } = named<ComputeClass>(manifests, 'ComputeClass', 'easel-v5e').spec
    expect(priorities.map(({ spot, flexStart }) => (spot ? 'spot' : flexStart ? 'flex-start' : 'on demand'))).toEqual([
      'spot',
      'flex-start',
      'on demand'
    ])
  })

  it('leads the workers to the gateway, by an address that outlives its Pod', () => {
    const address = /^tcp:\/\/([\w-]+):(\d+)$/.exec(variablesOf(worker, manifests)['EASEL_CONNECT'] ?? '')
    const { type, ports, ...spec } = named<Service>(manifests, 'Service', address?.[1] ?? '').spec
    expect(type).toBe('ClusterIP')
    expect(spec).not.toHaveProperty('clusterIP')
    expect(ports).toEqual([{ name: 'workers', port: Number(address?.[2]), targetPort: 'workers' }])
    const [, bound] = /^tcp:\/\/0\.0\.0\.0:(\d+)$/.exec(variablesOf(gateway, manifests)['WORKER_ENDPOINT'] ?? '') ?? []
    expect(gateway.ports).toContainEqual({ name: 'workers', containerPort: Number(bound) })
  })

  it('sets what both programs take, with the keys that the script makes', () => {
    const folder = join(mkdtempSync(join(tmpdir(), 'easel-test-')), 'keys')
    makeKeys(folder)
    const here = (container: Container, part: string) =>
      Object.fromEntries(
        Object.entries(imageAndPod(container, manifests)).map(([name, value]) => [
          name,
          value.replace('/etc/easel/curve', join(folder, part))
        ])
      )
    expect(() => gatewayProgram.accept(here(gateway, 'gateway'))).not.toThrow()
    expect(() => workerProgram.accept(here(worker, 'worker'))).not.toThrow()
    const own = ({ env = [] }: Container) => env.map(({ name }) => name)
    expect(unread(own(gateway), [gatewayProgram])).toEqual([])
    expect(unread(own(worker), [workerProgram])).toEqual([])
    const { holdRequests, worker: mode, requestTimeout } = loadOptions([], imageAndPod(gateway, manifests))
    expect([holdRequests, mode]).toEqual([true, 'connect'])
    // A worker comes in minutes.
    expect(requestTimeout).toBeGreaterThanOrEqual(1200)
  })

  it('has one gateway, and another before it goes', () => {
    expect(gatewayOf.spec.replicas).toBe(1)
    expect(gatewayOf.spec.strategy?.rollingUpdate).toEqual({ maxSurge: 1, maxUnavailable: 0 })
    expect(workerOf.spec.strategy?.rollingUpdate?.maxSurge).toBe(0)
  })

  it('gives both the time that they take to leave', () => {
    const { DRAIN_TIMEOUT, DRAIN_GRACE } = variablesOf(gateway, manifests)
    const linger = gateway.lifecycle?.preStop?.sleep?.seconds ?? 0
    expect(linger).toBeGreaterThan(0)
    expect(linger + Number(DRAIN_TIMEOUT) + CLOSE_MARGIN_S).toBeLessThanOrEqual(
      gatewayOf.spec.template.spec.terminationGracePeriodSeconds ?? 30
    )
    const { priorities } = named<ComputeClass>(manifests, 'ComputeClass', 'easel-v5e').spec
    const { shutdownGracePeriodSeconds = 30, shutdownGracePeriodCriticalPodsSeconds = 15 } =
      priorities[0]?.nodeSystemConfig?.kubeletConfig ?? {}
    const given = Math.min(
      pod.terminationGracePeriodSeconds ?? 30,
      shutdownGracePeriodSeconds - shutdownGracePeriodCriticalPodsSeconds
    )
    expect(Number(DRAIN_GRACE) + WORKER_CLOSE_S).toBeLessThanOrEqual(given)
  })

  it('has the model where both look for it, and lets the worker write where it is told to', () => {
    const { MODEL = '', COMPILE_CACHE } = imageAndPod(worker, manifests)
    expect(imageAndPod(gateway, manifests)['MODEL']).toBe(MODEL)
    for (const { volumeMounts = [] } of [gateway, worker])
      expect(volumeMounts.some(({ mountPath, readOnly }) => MODEL.startsWith(`${mountPath}/`) && readOnly)).toBe(true)
    expect(worker.volumeMounts).toContainEqual({ name: 'compile-cache', mountPath: COMPILE_CACHE })
  })

  it('scales the workers from none, by what waits', () => {
    const { spec } = named<ScaledObject>(manifests, 'ScaledObject', 'easel-worker')
    expect(spec).toMatchObject({
      scaleTargetRef: { name: 'easel-worker' },
      minReplicaCount: 0,
      triggers: [{ metadata: { activationThreshold: '0' } }]
    })
    expect(spec.triggers[0]?.metadata.query).toContain('easel_backlog_chip_seconds')
  })

  describe('the policy', () => {
    const spoilt: [string, (manifests: Manifest[]) => void][] = [
      [
        'gateway takes no CURVE_SECRET_KEY from a Secret',
        (all) => void containerOf(all, 'easel').env?.push({ name: 'CURVE_SECRET_KEY', value: 'a'.repeat(40) })
      ],
      [
        'worker takes no EASEL_CURVE_SERVER_KEY from a Secret',
        (all) => void containerOf(all, 'easel-worker').env?.push({ name: 'EASEL_CURVE_SERVER_KEY', value: '@/tmp/key' })
      ],
      [
        'gateway lets other Pods than workers reach its port for workers',
        (all) => {
          delete named<NetworkPolicy>(all, 'NetworkPolicy', 'easel-workers').spec.ingress![0]!.from
        }
      ],
      [
        'gateway lets other Pods than workers reach its port for workers',
        (all) => {
          named<NetworkPolicy>(all, 'NetworkPolicy', 'easel-workers').spec.ingress![0]!.from = [
            { namespaceSelector: {} }
          ]
        }
      ],
      [
        'gateway lets no worker reach its port for workers',
        (all) => {
          named<NetworkPolicy>(all, 'NetworkPolicy', 'easel-workers').spec.ingress = []
        }
      ],
      [
        'gateway has its port for workers beside others in one rule',
        (all) =>
          void named<NetworkPolicy>(all, 'NetworkPolicy', 'easel-workers').spec.ingress![0]!.ports!.push({
            port: 'http'
          })
      ]
    ]

    it.each(spoilt)('says that the %s', (sentence, spoil) => {
      const copy = structuredClone(manifests)
      spoil(copy)
      expect(violations(copy)).toEqual([expect.stringContaining(sentence)])
    })
  })
})

function containerOf(manifests: readonly Manifest[], deployment: string): Container {
  return named<Deployment>(manifests, 'Deployment', deployment).spec.template.spec.containers[0]!
}
