import { beforeAll, describe, expect, it } from 'vitest'
import {
  type Autoscaler,
  type BackendPolicy,
  type Container,
  type Deployment,
  type HttpRoute,
  INSTALL_MS,
  type Manifest,
  named,
  type NetworkPolicy,
  parseManifests,
  type PersistentVolumeClaim,
  type PodDisruptionBudget,
  type PodMonitoring,
  type PodSpec,
  render,
  type ScaledObject,
  type Service,
  type StorageClass,
  type Workload
} from './manifests.js'
import { violations } from './policy.js'

/** Ways to spoil good manifests, with what the policy is to say. A rule that finds nothing in its own case is no rule. */
const spoilt: [string, (pod: PodSpec, gateway: Container, manifests: Manifest[]) => void][] = [
  [
    'shares a namespace with its node',
    (pod) => {
      pod.hostNetwork = true
    }
  ],
  [
    'mounts a path of its node',
    (pod) => {
      pod.volumes?.push({ name: 'run', hostPath: {} })
    }
  ],
  [
    'may run as root',
    (pod) => {
      pod.securityContext = { ...pod.securityContext, runAsUser: 0 }
    }
  ],
  [
    'has no seccomp profile',
    (pod) => {
      pod.securityContext = { runAsNonRoot: true, runAsUser: 1 }
    }
  ],
  [
    'gets a token of the cluster',
    (pod) => {
      delete pod.automountServiceAccountToken
    }
  ],
  [
    'gateway is privileged',
    (_, gateway) => {
      gateway.securityContext = { ...gateway.securityContext, privileged: true }
    }
  ],
  [
    'gateway may gain privileges',
    (_, gateway) => {
      delete gateway.securityContext?.allowPrivilegeEscalation
    }
  ],
  [
    'gateway can write to its root file system',
    (_, gateway) => {
      gateway.securityContext = { ...gateway.securityContext, readOnlyRootFilesystem: false }
    }
  ],
  [
    'gateway keeps capabilities',
    (_, gateway) => {
      gateway.securityContext = { ...gateway.securityContext, capabilities: { drop: ['ALL'], add: ['SYS_RESOURCE'] } }
    }
  ],
  [
    "gateway undoes the Pod's user",
    (_, gateway) => {
      gateway.securityContext = { ...gateway.securityContext, runAsUser: 0 }
    }
  ],
  [
    'gateway requests no CPU or memory',
    (_, gateway) => {
      delete gateway.resources?.requests
    }
  ],
  [
    'gateway has no limit of CPU or memory',
    (_, gateway) => {
      delete gateway.resources?.limits?.['memory']
    }
  ],
  [
    'gateway requests another number of TPU chips',
    (_, gateway) => {
      Object.assign(gateway.resources?.limits ?? {}, { 'google.com/tpu': 1 })
    }
  ],
  [
    'gateway requests another number of GPUs',
    (_, gateway) => {
      Object.assign(gateway.resources?.limits ?? {}, { 'nvidia.com/gpu': 1 })
    }
  ],
  [
    'whatever that is today',
    (_, gateway) => {
      gateway.image = 'registry:5000/easel/gateway'
    }
  ],
  [
    'whatever that is today',
    (_, gateway) => {
      gateway.image = 'easel/gateway:latest'
    }
  ],
  [
    'mounts run, which is no volume',
    (pod) => {
      pod.volumes = pod.volumes?.filter(({ name }) => name !== 'run') ?? []
    }
  ],
  [
    'has the volume more, which nothing mounts',
    (pod) => {
      pod.volumes?.push({ name: 'more', emptyDir: { sizeLimit: '1Mi' } })
    }
  ],
  [
    'lets run fill the node',
    (pod) => {
      for (const { emptyDir } of pod.volumes ?? []) delete emptyDir?.sizeLimit
    }
  ],
  [
    'claims weights, which does not exist',
    (pod) => {
      pod.volumes?.push({ name: 'run', persistentVolumeClaim: { claimName: 'weights' } })
    }
  ],
  [
    'mounts more, which does not exist',
    (pod) => {
      pod.volumes?.push({ name: 'run', configMap: { name: 'more' } })
    }
  ],
  [
    'mounts the bucket of models, which says no place',
    (pod) => {
      pod.volumes?.push({ name: 'models', csi: { driver: 'x', volumeAttributes: { bucketName: 'BUCKET' } } })
    }
  ],
  [
    'gateway takes its settings from other, which does not exist',
    (_, gateway) => {
      gateway.envFrom = [{ configMapRef: { name: 'other' } }]
    }
  ],
  [
    'which says no place',
    (_, gateway) => {
      gateway.image = 'REGISTRY/PROJECT/REPOSITORY/gateway:TAG'
    }
  ],
  [
    'gateway listens and has no readinessProbe',
    (_, gateway) => {
      delete gateway.readinessProbe
    }
  ],
  [
    'gateway has a livenessProbe of the port https',
    (_, gateway) => {
      gateway.livenessProbe = { httpGet: { path: '/', port: 'https' } }
    }
  ],
  [
    'does not select its own Pods',
    (_pod, _gateway, manifests) => {
      named<Deployment>(manifests, 'Deployment', 'easel').spec.selector.matchLabels = { app: 'other' }
    }
  ],
  [
    'has 0 disruption budgets',
    (_pod, _gateway, manifests) => {
      named<PodDisruptionBudget>(manifests, 'PodDisruptionBudget', 'easel').spec.selector.matchLabels = {}
    }
  ],
  [
    'may hold a node up for ever',
    (_pod, _gateway, manifests) => {
      named<PodDisruptionBudget>(manifests, 'PodDisruptionBudget', 'easel').spec = {
        selector: { matchLabels: {} },
        minAvailable: 1
      }
    }
  ],
  [
    'has no NetworkPolicy for Egress',
    (_pod, _gateway, manifests) => {
      for (const policy of manifests)
        if (policy.kind === 'NetworkPolicy') (policy as NetworkPolicy).spec.policyTypes = ['Ingress']
    }
  ],
  [
    'NetworkPolicy easel leads to the port https',
    (_pod, _gateway, manifests) => {
      named<NetworkPolicy>(manifests, 'NetworkPolicy', 'easel').spec.ingress = [{ ports: [{ port: 'https' }] }]
    }
  ],
  [
    'NetworkPolicy easel-webapp leads to the port 80',
    (_pod, _gateway, manifests) => {
      for (const rule of named<NetworkPolicy>(manifests, 'NetworkPolicy', 'easel-webapp').spec.egress ?? [])
        rule.ports = [{ port: 80 }]
    }
  ],
  [
    'selects the Pods of 0 workloads',
    (_pod, _gateway, manifests) => {
      named<Service>(manifests, 'Service', 'easel').spec.selector = {}
    }
  ],
  [
    'leads to the port 8000, which no container names',
    (_pod, _gateway, manifests) => {
      Object.assign(named<Service>(manifests, 'Service', 'easel').spec.ports[0] ?? {}, { targetPort: 8000 })
    }
  ],
  [
    'PodMonitoring easel leads to the port metrics',
    (_pod, _gateway, manifests) => {
      named<PodMonitoring>(manifests, 'PodMonitoring', 'easel').spec.endpoints = [{ port: 'metrics', path: '/metrics' }]
    }
  ],
  [
    'scales other, which does not exist',
    (_pod, _gateway, manifests) => {
      named<Autoscaler>(manifests, 'ScaledObject', 'easel').spec.scaleTargetRef.name = 'other'
    }
  ],
  [
    'is overruled by spec.replicas',
    (_pod, _gateway, manifests) => {
      named<Deployment>(manifests, 'Deployment', 'easel').spec.replicas = 2
    }
  ],
  [
    'asks for more than its own cluster and namespace: sum(easel_queue_depth)',
    (_pod, _gateway, manifests) => {
      named<ScaledObject>(manifests, 'ScaledObject', 'easel').spec.triggers.push({
        type: 'prometheus',
        metadata: { query: 'sum(easel_queue_depth)' }
      })
    }
  ],
  [
    'asks for more than its own cluster and namespace',
    (_pod, _gateway, manifests) => {
      named<ScaledObject>(manifests, 'ScaledObject', 'easel').spec.triggers.push({
        type: 'prometheus',
        metadata: { query: 'sum(easel_queue_depth{namespace="easel"})' }
      })
    }
  ],
  [
    'asks for more than its own cluster and namespace',
    (_pod, _gateway, manifests) => {
      named<ScaledObject>(manifests, 'ScaledObject', 'easel').spec.triggers.push({
        type: 'prometheus',
        metadata: { query: 'sum(easel_queue_depth{cluster="CLUSTER",namespace="easel"})' }
      })
    }
  ],
  [
    'identifies itself by other, which does not exist',
    (_pod, _gateway, manifests) => {
      named<ScaledObject>(manifests, 'ScaledObject', 'easel').spec.triggers.push({
        type: 'cron',
        metadata: {},
        authenticationRef: { name: 'other' }
      })
    }
  ]
]

/** The same for the way in from the world, and for a volume on v6e. */
const spoiltElsewhere: ['gke-https' | 'tpu-v6e-1x1' | 'valkey', ...(typeof spoilt)[number]][] = [
  [
    'gke-https',
    'has the listener http, which no route is for',
    (_pod, _gateway, manifests) => {
      named<HttpRoute>(manifests, 'HTTPRoute', 'easel-webapp-to-https').spec.parentRefs = [
        { name: 'easel', sectionName: 'https' }
      ]
    }
  ],
  [
    'gke-https',
    'serves plain HTTP at http',
    (_pod, _gateway, manifests) => {
      named<HttpRoute>(manifests, 'HTTPRoute', 'easel-webapp').spec.parentRefs.push({
        name: 'easel',
        sectionName: 'http'
      })
    }
  ],
  [
    'gke-https',
    'is for any name there is',
    (_pod, _gateway, manifests) => {
      delete named<HttpRoute>(manifests, 'HTTPRoute', 'easel-webapp').spec.hostnames
    }
  ],
  [
    'gke-https',
    'is for a name that says no place',
    (_pod, _gateway, manifests) => {
      named<HttpRoute>(manifests, 'HTTPRoute', 'easel-webapp').spec.hostnames = ['HOST']
    }
  ],
  [
    'gke-https',
    'hangs on other/https, which does not exist',
    (_pod, _gateway, manifests) => {
      named<HttpRoute>(manifests, 'HTTPRoute', 'easel-webapp').spec.parentRefs = [
        { name: 'other', sectionName: 'https' }
      ]
    }
  ],
  [
    'gke-https',
    'leads to easel-webapp:80, which does not exist',
    (_pod, _gateway, manifests) => {
      named<HttpRoute>(manifests, 'HTTPRoute', 'easel-webapp').spec.rules = [
        { backendRefs: [{ name: 'easel-webapp', port: 80 }] }
      ]
    }
  ],
  [
    'gke-https',
    'which is open to the world beside it',
    (_pod, _gateway, manifests) => {
      named<Service>(manifests, 'Service', 'easel-webapp').spec.type = 'LoadBalancer'
    }
  ],
  [
    'gke-https',
    'leads to easel, whose answers the balancer cuts after 30 s',
    (_pod, _gateway, manifests) => {
      named<HttpRoute>(manifests, 'HTTPRoute', 'easel-webapp').spec.rules = [
        { backendRefs: [{ name: 'easel', port: 8000 }] }
      ]
    }
  ],
  [
    'gke-https',
    'leads to easel, whose health nobody asks for',
    (_pod, _gateway, manifests) => {
      named<HttpRoute>(manifests, 'HTTPRoute', 'easel-webapp').spec.rules = [
        { backendRefs: [{ name: 'easel', port: 8000 }] }
      ]
    }
  ],
  [
    'gke-https',
    'GCPBackendPolicy easel-webapp is about other, which does not exist',
    (_pod, _gateway, manifests) => {
      named<BackendPolicy>(manifests, 'GCPBackendPolicy', 'easel-webapp').spec.targetRef.name = 'other'
    }
  ],
  [
    'tpu-v6e-1x1',
    'claims easel-models on a disk that its node cannot attach',
    (_pod, _gateway, manifests) => {
      delete named<PersistentVolumeClaim>(manifests, 'PersistentVolumeClaim', 'easel-models').spec.storageClassName
    }
  ],
  [
    'tpu-v6e-1x1',
    'claims easel-models on a disk that its node cannot attach',
    (_pod, _gateway, manifests) => {
      named<StorageClass>(manifests, 'StorageClass', 'easel-hyperdisk-balanced').parameters = { type: 'pd-balanced' }
    }
  ],
  [
    'valkey',
    'StatefulSet easel-valkey: may run as root',
    (_pod, _gateway, manifests) => {
      delete named<Workload>(manifests, 'StatefulSet', 'easel-valkey').spec.template.spec.securityContext
    }
  ],
  [
    'valkey',
    'StatefulSet easel-valkey: mounts data, which is no volume',
    (_pod, _gateway, manifests) => {
      delete named<Workload>(manifests, 'StatefulSet', 'easel-valkey').spec.volumeClaimTemplates
    }
  ],
  [
    'valkey',
    'valkey has a livenessProbe of the port redis, which it does not name',
    (_pod, _gateway, manifests) => {
      named<Workload>(manifests, 'StatefulSet', 'easel-valkey').spec.template.spec.containers[0]!.livenessProbe = {
        tcpSocket: { port: 'redis' }
      }
    }
  ],
  [
    'valkey',
    'NetworkPolicy easel-job-store leads to the port redis, which no container names',
    (_pod, _gateway, manifests) => {
      named<NetworkPolicy>(manifests, 'NetworkPolicy', 'easel-job-store').spec.egress!.at(-1)!.ports = [
        { port: 'redis' }
      ]
    }
  ]
]

describe('the policy', () => {
  const texts = new Map<string, string>()
  beforeAll(async () => {
    for (const overlay of ['gke-keda', 'gke-https', 'tpu-v6e-1x1', 'valkey']) texts.set(overlay, await render(overlay))
  }, INSTALL_MS)

  it.each([...spoilt.map((row) => ['gke-keda', ...row] as const), ...spoiltElsewhere])(
    '%s: says: %s',
    (overlay, sentence, spoil) => {
      const manifests = parseManifests(texts.get(overlay) ?? '')
      const pod = named<Deployment>(manifests, 'Deployment', 'easel').spec.template.spec
      const gateway = pod.containers.find(({ name }) => name === 'gateway')
      if (gateway === undefined) throw new Error('no gateway')
      spoil(pod, gateway, manifests)
      expect(violations(manifests)).toContainEqual(expect.stringContaining(sentence))
    }
  )

  it.each(['gke-keda', 'gke-https', 'tpu-v6e-1x1', 'valkey'])('%s: has nothing to say of good manifests', (overlay) => {
    expect(violations(parseManifests(texts.get(overlay) ?? ''))).toEqual([])
  })
})
