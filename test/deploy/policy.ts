import { type Container, type Deployment, type Manifest, ofKind, type PodSpec, type Service } from './manifests.js'

/** What is wrong with a set of manifests by our own rules, one sentence each; nothing when all is well. */
export function violations(manifests: readonly Manifest[]): string[] {
  return [
    ...podsOf(manifests).flatMap(({ owner, spec }) => [
      ...unsafePod(spec),
      ...spec.containers.concat(spec.initContainers ?? []).flatMap((container) => [...unsafeContainer(container), ...unboundContainer(container), ...unpinnedImage(container)]),
      ...looseVolumes(spec, manifests)
    ].map((sentence) => `${owner}: ${sentence}`)),
    ...ofKind<Deployment>(manifests, 'Deployment').flatMap(selectsOthers),
    ...ofKind<Service>(manifests, 'Service').flatMap((service) => leadsNowhere(service, manifests))
  ]
}

function podsOf(manifests: readonly Manifest[]): { owner: string; spec: PodSpec }[] {
  return [
    ...ofKind<Manifest & { spec: PodSpec }>(manifests, 'Pod').map(({ metadata, spec }) => ({ owner: `Pod ${metadata.name}`, spec })),
    ...ofKind<Deployment>(manifests, 'Deployment').map(({ metadata, spec }) => ({ owner: `Deployment ${metadata.name}`, spec: spec.template.spec }))
  ]
}

/** The sentences whose condition holds. */
function found(rules: Record<string, boolean | undefined>): string[] {
  return Object.keys(rules).filter((sentence) => rules[sentence])
}

function unsafePod({ securityContext, ...spec }: PodSpec): string[] {
  return found({
    'shares a namespace with its node': spec.hostNetwork || spec.hostPID || spec.hostIPC,
    'mounts a path of its node': spec.volumes?.some(({ hostPath }) => hostPath !== undefined),
    'may run as root': securityContext?.runAsNonRoot !== true || securityContext.runAsUser === undefined || securityContext.runAsUser === 0,
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
    [`${name} undoes the Pod's user or seccomp profile`]: 'runAsUser' in securityContext || 'runAsNonRoot' in securityContext || 'seccompProfile' in securityContext
  })
}

function unboundContainer({ name, resources }: Container): string[] {
  const { requests = {}, limits = {} } = resources ?? {}
  return found({
    [`${name} requests no CPU or memory`]: requests['cpu'] === undefined || requests['memory'] === undefined,
    [`${name} has no limit of CPU or memory`]: limits['cpu'] === undefined || limits['memory'] === undefined,
    [`${name} requests another number of TPU chips than its limit`]: requests['google.com/tpu'] !== limits['google.com/tpu']
  })
}

function unpinnedImage({ name, image }: Container): string[] {
  const tag = /:([^:/]+)$/.exec(image)?.[1]
  return found({ [`${name} takes ${image}, whatever that is today`]: !image.includes('@sha256:') && (tag === undefined || tag === 'latest') })
}

function looseVolumes({ containers, initContainers = [], volumes = [] }: PodSpec, manifests: readonly Manifest[]): string[] {
  const mounted = new Set(containers.concat(initContainers).flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name)))
  const claims = new Set(ofKind(manifests, 'PersistentVolumeClaim').map(({ metadata }) => metadata.name))
  return [
    ...[...mounted].filter((name) => !volumes.some((volume) => volume.name === name)).map((name) => `mounts ${name}, which is no volume`),
    ...volumes.filter(({ name }) => !mounted.has(name)).map(({ name }) => `has the volume ${name}, which nothing mounts`),
    ...volumes.filter(({ emptyDir }) => emptyDir && emptyDir.sizeLimit === undefined).map(({ name }) => `lets ${name} fill the node`),
    ...volumes.flatMap(({ persistentVolumeClaim: claim }) => (claim && !claims.has(claim.claimName) ? [`claims ${claim.claimName}, which does not exist`] : []))
  ]
}

function selectsOthers({ metadata, spec }: Deployment): string[] {
  return matches(spec.selector.matchLabels, spec.template.metadata.labels) ? [] : [`Deployment ${metadata.name} does not select its own Pods`]
}

function leadsNowhere({ metadata, spec }: Service, manifests: readonly Manifest[]): string[] {
  const targets = ofKind<Deployment>(manifests, 'Deployment').filter(({ spec: { template } }) => matches(spec.selector, template.metadata.labels))
  if (targets.length !== 1) return [`Service ${metadata.name} selects the Pods of ${targets.length} Deployments`]
  const names = new Set(targets.flatMap(({ spec: { template } }) => template.spec.containers).flatMap(({ ports = [] }) => ports.map(({ name }) => name)))
  return spec.ports.filter(({ targetPort }) => !names.has(String(targetPort))).map(({ targetPort }) => `Service ${metadata.name} leads to the port ${targetPort}, which no container names`)
}

function matches(selector: Record<string, string>, labels: Record<string, string>): boolean {
  const wanted = Object.entries(selector)
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value)
}
