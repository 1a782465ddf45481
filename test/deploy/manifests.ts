import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { kubectl } from '../../tools/deploy-tools.mjs'
import { packageRoot } from '../../src/gateway-options.js'

/** Long enough to fetch the tools, where a test is the first one to need them. */
export const INSTALL_MS = 600_000

// Only the fields that the tests look at. Whether an object is a valid one is checked with Kubernetes' own schemas.

export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> }
}

export interface SecurityContext {
  privileged?: boolean
  allowPrivilegeEscalation?: boolean
  readOnlyRootFilesystem?: boolean
  runAsNonRoot?: boolean
  runAsUser?: number
  fsGroup?: number
  seccompProfile?: { type: string }
  capabilities?: { drop?: string[]; add?: string[] }
}

export interface Probe {
  httpGet?: { path: string; port: string | number }
  tcpSocket?: { port: string | number }
  periodSeconds?: number
  failureThreshold?: number
}

type Quantities = Record<string, string | number>

export interface Container {
  name: string
  image: string
  command?: string[]
  args?: string[]
  ports?: { name?: string; containerPort: number }[]
  env?: { name: string; value?: string; valueFrom?: { secretKeyRef?: { name: string; key: string } } }[]
  envFrom?: { configMapRef?: { name: string } }[]
  resources?: { requests?: Quantities; limits?: Quantities }
  securityContext?: SecurityContext
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[]
  lifecycle?: { preStop?: { sleep?: { seconds: number } } }
  startupProbe?: Probe
  readinessProbe?: Probe
  livenessProbe?: Probe
}

export interface Volume {
  name: string
  emptyDir?: { medium?: string; sizeLimit?: string }
  persistentVolumeClaim?: { claimName: string }
  configMap?: { name: string }
  secret?: { secretName: string; items?: { key: string }[] }
  csi?: { driver: string; readOnly?: boolean; volumeAttributes?: Record<string, string> }
  hostPath?: object
}

export interface PodSpec {
  containers: Container[]
  initContainers?: Container[]
  volumes?: Volume[]
  securityContext?: SecurityContext
  serviceAccountName?: string
  automountServiceAccountToken?: boolean
  terminationGracePeriodSeconds?: number
  nodeSelector?: Record<string, string>
  tolerations?: { key?: string; operator?: string; value?: string; effect?: string }[]
  hostNetwork?: boolean
  hostPID?: boolean
  hostIPC?: boolean
}

export interface LabelSelector {
  matchLabels: Record<string, string>
}

export interface Deployment extends Manifest {
  spec: {
    replicas?: number
    progressDeadlineSeconds?: number
    selector: LabelSelector
    strategy?: { rollingUpdate?: { maxSurge?: number | string; maxUnavailable?: number | string } }
    template: { metadata: { labels: Record<string, string>; annotations?: Record<string, string> }; spec: PodSpec }
  }
}

/** What has Pods that stay. */
export interface Workload extends Deployment {
  spec: Deployment['spec'] & { volumeClaimTemplates?: { metadata: { name: string } }[] }
}

export interface PodDisruptionBudget extends Manifest {
  spec: { selector: LabelSelector; maxUnavailable?: number; minAvailable?: number }
}

interface NetworkRule {
  ports?: { port: number | string; protocol?: string }[]
  to?: { podSelector?: LabelSelector; ipBlock?: { cidr: string } }[]
  from?: { podSelector?: LabelSelector; namespaceSelector?: object }[]
}

export interface NetworkPolicy extends Manifest {
  spec: { podSelector: LabelSelector; policyTypes: string[]; ingress?: NetworkRule[]; egress?: NetworkRule[] }
}

export interface Autoscaler extends Manifest {
  spec: { scaleTargetRef: { kind: string; name: string }; metrics?: { pods: { metric: { name: string } } }[] }
}

export interface ScaledObject extends Autoscaler {
  spec: Autoscaler['spec'] & {
    triggers: {
      type: string
      metadata: { query?: string; [name: string]: string | undefined }
      authenticationRef?: { name: string }
    }[]
  }
}

export interface PodMonitoring extends Manifest {
  spec: { selector: LabelSelector; endpoints: { port: string; path: string }[] }
}

export interface Service extends Manifest {
  spec: {
    type?: string
    selector: Record<string, string>
    ports: { name?: string; port: number; targetPort?: string | number }[]
  }
}

export interface ComputeClass extends Manifest {
  spec: {
    priorities: {
      spot?: boolean
      flexStart?: { enabled: boolean }
      tpu?: { type: string; count: number; topology: string }
      nodeSystemConfig?: {
        kubeletConfig?: { shutdownGracePeriodSeconds?: number; shutdownGracePeriodCriticalPodsSeconds?: number }
      }
    }[]
  }
}

export interface PersistentVolumeClaim extends Manifest {
  spec: { storageClassName?: string }
}

export interface StorageClass extends Manifest {
  parameters?: Record<string, string>
}

export interface Gateway extends Manifest {
  spec: { gatewayClassName: string; listeners: { name: string; port: number; protocol: string }[] }
}

interface RouteRule {
  filters?: { type: string; requestRedirect?: { scheme?: string } }[]
  backendRefs?: { name: string; port?: number }[]
}

export interface HttpRoute extends Manifest {
  spec: { parentRefs: { name: string; sectionName?: string }[]; hostnames?: string[]; rules: RouteRule[] }
}

interface ServicePolicy<Settings> extends Manifest {
  spec: { default: Settings; targetRef: { group: string; kind: string; name: string } }
}

export type BackendPolicy = ServicePolicy<{ timeoutSec?: number; connectionDraining?: { drainingTimeoutSec: number } }>

export type HealthCheckPolicy = ServicePolicy<{
  config?: { httpHealthCheck?: { portSpecification?: string; requestPath?: string } }
}>

export interface ConfigMap extends Manifest {
  data: Record<string, string>
}

/** The folders of k8s/overlays: what can be applied. */
export const overlays = readdirSync(join(packageRoot, 'k8s/overlays')).sort()

const rendered = new Map<string, string>()

/** The YAML that `kubectl apply -k` would send for an overlay. */
export async function render(overlay: string): Promise<string> {
  const folder = join(packageRoot, 'k8s/overlays', overlay)
  const text = rendered.get(overlay) ?? execFileSync(await kubectl(), ['kustomize', folder], { encoding: 'utf8' })
  rendered.set(overlay, text)
  return text
}

/** The objects in a text of YAML documents. */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0]
    return document.toJS() as Manifest
  })
}

/** The objects of a kind. */
export function ofKind<T extends Manifest>(manifests: readonly Manifest[], kind: string): T[] {
  return manifests.filter((manifest) => manifest.kind === kind) as T[]
}

export function workloads(manifests: readonly Manifest[]): Workload[] {
  return [...ofKind<Workload>(manifests, 'Deployment'), ...ofKind<Workload>(manifests, 'StatefulSet')]
}

/** The object of a kind and name. @throws when there is none */
export function named<T extends Manifest>(manifests: readonly Manifest[], kind: string, name: string): T {
  const found = ofKind<T>(manifests, kind).find(({ metadata }) => metadata.name === name)
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`)
  return found
}

/** Whether a selector selects Pods with these labels. One that is empty selects all, which here is always a mistake. */
export function selects(selector: Record<string, string>, labels: Record<string, string>): boolean {
  const wanted = Object.entries(selector)
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value)
}

/** Values of Secrets that a program reads before it takes them; others are as good as the name of their key. */
const SECRETS: Readonly<Record<string, string>> = {
  'easel-job-store/url': 'valkey://:password@easel-valkey:6379',
  'easel-webhooks/secrets': `whsec_${'A'.repeat(32)}`
}

function secretValue({ name, key }: { name: string; key: string }): string {
  return SECRETS[`${name}/${key}`] ?? key
}

/** A container's variables as the kubelet makes them: ConfigMaps first, then its own. */
export function variablesOf(container: Container, manifests: readonly Manifest[]): Record<string, string> {
  const maps = ofKind<ConfigMap>(manifests, 'ConfigMap')
  const inherited = (container.envFrom ?? []).map(({ configMapRef }) => {
    const map = maps.find(({ metadata }) => metadata.name === configMapRef?.name)
    if (map === undefined)
      throw new Error(`${container.name} takes its settings from ${configMapRef?.name}, which does not exist`)
    return map.data
  })
  const own = Object.fromEntries(
    (container.env ?? []).map(({ name, value, valueFrom }) => [
      name,
      value ?? (valueFrom?.secretKeyRef === undefined ? '' : secretValue(valueFrom.secretKeyRef))
    ])
  )
  return Object.assign({}, ...inherited, own) as Record<string, string>
}
