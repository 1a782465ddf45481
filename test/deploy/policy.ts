import {
  type Container,
  type Manifest,
  ofKind,
  type PersistentVolumeClaim,
  type PodSpec,
  type StorageClass,
  type Workload,
  workloads
} from './manifests.js'
import { strayRoutes } from './policy-front-door.js'
import { strayObjects } from './policy-objects.js'
import { found } from './policy-rules.js'
import { openWorkerPorts } from './policy-worker-port.js'

/** What is wrong with a set of manifests by our own rules, one sentence each; nothing when all is well. */
export function violations(manifests: readonly Manifest[]): string[] {
  return [
    ...workloads(manifests).flatMap((workload) => unsafe(workload, manifests)),
    ...strayObjects(manifests),
    ...strayRoutes(manifests),
    ...openWorkerPorts(manifests)
  ]
}

function unsafe({ kind, metadata, spec }: Workload, manifests: readonly Manifest[]): string[] {
  const pod = spec.template.spec
  const all = pod.containers.concat(pod.initContainers ?? [])
  const sentences = [
    ...unsafePod(pod),
    ...all.flatMap((container) => [
      ...unsafeContainer(container),
      ...unboundContainer(container),
      ...unpinnedImage(container)
    ]),
    ...pod.containers.flatMap(probesNothing),
    ...looseVolumes(withClaims(pod, spec.volumeClaimTemplates), manifests),
    ...wrongDisks(pod, manifests),
    ...looseSettings(all, manifests)
  ]
  return sentences.map((sentence) => `${kind} ${metadata.name}: ${sentence}`)
}

/** A Pod with the volumes of its own claims. */
function withClaims(pod: PodSpec, claims: Workload['spec']['volumeClaimTemplates'] = []): PodSpec {
  return { ...pod, volumes: [...(pod.volumes ?? []), ...claims.map(({ metadata: { name } }) => ({ name }))] }
}

function unsafePod({ securityContext, ...spec }: PodSpec): string[] {
  return found({
    'shares a namespace with its node': spec.hostNetwork || spec.hostPID || spec.hostIPC,
    'mounts a path of its node': spec.volumes?.some(({ hostPath }) => hostPath !== undefined),
    'may run as root':
      securityContext?.runAsNonRoot !== true ||
      securityContext.runAsUser === undefined ||
      securityContext.runAsUser === 0,
    'has no seccomp profile': securityContext?.seccompProfile?.type !== 'RuntimeDefault',
    'gets a token of the cluster': spec.automountServiceAccountToken !== false
  })
}

function unsafeContainer({ name, securityContext = {} }: Container): string[] {
  const { capabilities } = securityContext
  return found({
    [`${name} is privileged`]: securityContext.privileged,
    [`${name} may gain privileges`]: securityContext.allowPrivilegeEscalation !== false,
    [`${name} can write to its root file system`]: securityContext.readOnlyRootFilesystem !== true,
    [`${name} keeps capabilities`]: !capabilities?.drop?.includes('ALL') || (capabilities.add ?? []).length > 0,
    [`${name} undoes the Pod's user or seccomp profile`]:
      'runAsUser' in securityContext || 'runAsNonRoot' in securityContext || 'seccompProfile' in securityContext
  })
}

function unboundContainer({ name, resources }: Container): string[] {
  const { requests = {}, limits = {} } = resources ?? {}
  return found({
    [`${name} requests no CPU or memory`]: requests['cpu'] === undefined || requests['memory'] === undefined,
    [`${name} has no limit of CPU or memory`]: limits['cpu'] === undefined || limits['memory'] === undefined,
    [`${name} requests another number of TPU chips than its limit`]:
      requests['google.com/tpu'] !== limits['google.com/tpu'],
    [`${name} requests another number of GPUs than its limit`]: requests['nvidia.com/gpu'] !== limits['nvidia.com/gpu']
  })
}

function unpinnedImage({ name, image }: Container): string[] {
  const tag = /:([^:/]+)$/.exec(image)?.[1]
  return found({
    [`${name} takes ${image}, whatever that is today`]:
      !image.includes('@sha256:') && (tag === undefined || tag === 'latest'),
    [`${name} takes ${image}, which says no place: is components/place the last one?`]:
      /REGISTRY|PROJECT\/|REPOSITORY|:TAG$/.test(image)
  })
}

/** Who listens is asked: whether it is there, whether to send to it, whether it has started. */
function probesNothing({ name, ports = [], startupProbe, readinessProbe, livenessProbe }: Container): string[] {
  const probes = { startupProbe, readinessProbe, livenessProbe }
  const names = new Set(ports.map((port) => port.name))
  return Object.entries(probes).flatMap(([kind, probe]) => {
    const port = probe?.httpGet?.port ?? probe?.tcpSocket?.port
    return found({
      [`${name} listens and has no ${kind}`]: ports.length > 0 && probe === undefined,
      [`${name} has a ${kind} of the port ${port}, which it does not name`]:
        probe !== undefined && !names.has(String(port))
    })
  })
}

function looseVolumes(
  { containers, initContainers = [], volumes = [] }: PodSpec,
  manifests: readonly Manifest[]
): string[] {
  const mounted = new Set(
    containers.concat(initContainers).flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name))
  )
  const missing = (kind: string, name: string | undefined) =>
    name !== undefined && !ofKind(manifests, kind).some(({ metadata }) => metadata.name === name)
  return [
    ...[...mounted]
      .filter((name) => !volumes.some((volume) => volume.name === name))
      .map((name) => `mounts ${name}, which is no volume`),
    ...volumes.flatMap(({ name, emptyDir, persistentVolumeClaim: claim, configMap, csi }) =>
      found({
        [`has the volume ${name}, which nothing mounts`]: !mounted.has(name),
        [`lets ${name} fill the node`]: emptyDir && emptyDir.sizeLimit === undefined,
        [`claims ${claim?.claimName}, which does not exist`]: missing('PersistentVolumeClaim', claim?.claimName),
        [`mounts ${configMap?.name}, which does not exist`]: missing('ConfigMap', configMap?.name),
        [`mounts the bucket of ${name}, which says no place: is components/place the last one?`]:
          csi?.volumeAttributes?.['bucketName'] === 'BUCKET'
      })
    )
  ]
}

/** TPU v6e nodes attach Hyperdisk and no Persistent Disk, which is what a cluster's default class makes. */
function wrongDisks({ nodeSelector = {}, volumes = [] }: PodSpec, manifests: readonly Manifest[]): string[] {
  if (nodeSelector['cloud.google.com/gke-tpu-accelerator'] !== 'tpu-v6e-slice') return []
  const claimed = volumes.flatMap(({ persistentVolumeClaim: claim }) =>
    ofKind<PersistentVolumeClaim>(manifests, 'PersistentVolumeClaim').filter(
      ({ metadata }) => metadata.name === claim?.claimName
    )
  )
  const classes = ofKind<StorageClass>(manifests, 'StorageClass')
  const type = (claim: PersistentVolumeClaim) =>
    classes.find(({ metadata }) => metadata.name === claim.spec.storageClassName)?.parameters?.['type']
  return claimed
    .filter((claim) => !type(claim)?.startsWith('hyperdisk-'))
    .map(({ metadata }) => `claims ${metadata.name} on a disk that its node cannot attach`)
}

function looseSettings(containers: readonly Container[], manifests: readonly Manifest[]): string[] {
  const maps = new Set(ofKind(manifests, 'ConfigMap').map(({ metadata }) => metadata.name))
  return containers.flatMap(({ name, envFrom = [] }) =>
    envFrom.flatMap(({ configMapRef }) =>
      maps.has(configMapRef?.name ?? '')
        ? []
        : [`${name} takes its settings from ${configMapRef?.name}, which does not exist`]
    )
  )
}
