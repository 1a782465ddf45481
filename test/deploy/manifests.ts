import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { kubectl } from '../../scripts/lib/deploy-tools.mjs'
import { packageRoot } from '../../src/config.js'

/** Long enough to fetch the tools, where a test is the first one to need them. */
export const INSTALL_MS = 600_000

// Only the fields that the tests look at. Whether an object is a valid one is checked with Kubernetes' own schemas.

export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; labels?: Record<string, string> }
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
  periodSeconds?: number
  failureThreshold?: number
}

type Quantities = Record<string, string | number>

export interface Container {
  name: string
  image: string
  ports?: { name?: string; containerPort: number }[]
  env?: { name: string; value?: string }[]
  envFrom?: { configMapRef?: { name: string } }[]
  resources?: { requests?: Quantities; limits?: Quantities }
  securityContext?: SecurityContext
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[]
  startupProbe?: Probe
  readinessProbe?: Probe
  livenessProbe?: Probe
}

export interface PodSpec {
  containers: Container[]
  initContainers?: Container[]
  volumes?: { name: string; emptyDir?: { medium?: string; sizeLimit?: string }; persistentVolumeClaim?: { claimName: string }; hostPath?: object }[]
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

export interface Deployment extends Manifest {
  spec: {
    selector: { matchLabels: Record<string, string> }
    strategy?: { rollingUpdate?: { maxSurge?: number | string } }
    template: { metadata: { labels: Record<string, string> }; spec: PodSpec }
  }
}

export interface Service extends Manifest {
  spec: { type?: string; selector: Record<string, string>; ports: { name?: string; port: number; targetPort?: string | number }[] }
}

export interface ConfigMap extends Manifest {
  data: Record<string, string>
}

/** The YAML that `kubectl apply -k` would send for a folder of k8s/. */
export async function render(folder: string): Promise<string> {
  return execFileSync(await kubectl(), ['kustomize', join(packageRoot, 'k8s', folder)], { encoding: 'utf8' })
}

/** The objects in a text of YAML documents. */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0]
    return document.toJS() as Manifest
  })
}

export function readManifest(file: string): Manifest[] {
  return parseManifests(readFileSync(join(packageRoot, 'k8s', file), 'utf8'))
}

/** The objects of a kind. */
export function ofKind<T extends Manifest>(manifests: readonly Manifest[], kind: string): T[] {
  return manifests.filter((manifest) => manifest.kind === kind) as T[]
}

/** The only object of a kind. @throws when there is none, or more than one */
export function only<T extends Manifest>(manifests: readonly Manifest[], kind: string): T {
  const [found, ...others] = ofKind<T>(manifests, kind)
  if (found === undefined || others.length > 0) throw new Error(`one ${kind} was expected, there are ${others.length + (found ? 1 : 0)}`)
  return found
}

/** A container's variables as the kubelet makes them: ConfigMaps first, then its own. */
export function variablesOf(container: Container, manifests: readonly Manifest[]): Record<string, string> {
  const maps = ofKind<ConfigMap>(manifests, 'ConfigMap')
  const inherited = (container.envFrom ?? []).map(({ configMapRef }) => {
    const map = maps.find(({ metadata }) => metadata.name === configMapRef?.name)
    if (map === undefined) throw new Error(`${container.name} takes its settings from ${configMapRef?.name}, which does not exist`)
    return map.data
  })
  const own = Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value ?? '']))
  return Object.assign({}, ...inherited, own) as Record<string, string>
}
