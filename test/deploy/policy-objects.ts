import {
  type Autoscaler,
  type Deployment,
  type Manifest,
  type NetworkPolicy,
  ofKind,
  type PodDisruptionBudget,
  type PodMonitoring,
  selects,
  type ScaledObject,
  type Service,
  workloads
} from './manifests.js'

/** What is wrong with the objects around the Deployments: that they lead nowhere, or that one is missing. */
export function strayObjects(manifests: readonly Manifest[]): string[] {
  const deployments = workloads(manifests)
  const name = (object: Manifest, sentences: string[]) =>
    sentences.map((sentence) => `${object.kind} ${object.metadata.name} ${sentence}`)
  return [
    ...deployments.flatMap((deployment) => name(deployment, unguarded(deployment, manifests))),
    ...ofKind<Service>(manifests, 'Service').flatMap((service) => name(service, leadsNowhere(service, deployments))),
    ...ofKind<PodMonitoring>(manifests, 'PodMonitoring').flatMap((monitoring) =>
      name(monitoring, scrapesNothing(monitoring, deployments))
    ),
    ...ofKind<PodDisruptionBudget>(manifests, 'PodDisruptionBudget').flatMap((budget) => name(budget, holdsUp(budget))),
    ...ofKind<NetworkPolicy>(manifests, 'NetworkPolicy').flatMap((policy) =>
      name(policy, opensNothing(policy, deployments))
    ),
    ...autoscalers(manifests).flatMap((scaler) => name(scaler, scalesNothing(scaler, deployments))),
    ...ofKind<ScaledObject>(manifests, 'ScaledObject').flatMap((scaler) =>
      name(scaler, [...asksNobody(scaler, manifests), ...countsOthers(scaler)])
    )
  ]
}

function autoscalers(manifests: readonly Manifest[]): Autoscaler[] {
  return [...ofKind<Autoscaler>(manifests, 'HorizontalPodAutoscaler'), ...ofKind<Autoscaler>(manifests, 'ScaledObject')]
}

function unguarded({ spec }: Deployment, manifests: readonly Manifest[]): string[] {
  const { labels } = spec.template.metadata
  const policies = ofKind<NetworkPolicy>(manifests, 'NetworkPolicy').filter(({ spec: { podSelector } }) =>
    selects(podSelector.matchLabels, labels)
  )
  const budgets = ofKind<PodDisruptionBudget>(manifests, 'PodDisruptionBudget').filter(({ spec: { selector } }) =>
    selects(selector.matchLabels, labels)
  )
  return [
    ...(selects(spec.selector.matchLabels, labels) ? [] : ['does not select its own Pods']),
    ...(budgets.length === 1 ? [] : [`has ${budgets.length} disruption budgets`]),
    ...['Ingress', 'Egress']
      .filter((type) => !policies.some(({ spec: { policyTypes } }) => policyTypes.includes(type)))
      .map((type) => `has no NetworkPolicy for ${type}`)
  ]
}

/** The names of the ports that a selector's Pods have, or why there are none. */
function portsOf(selector: Record<string, string>, deployments: readonly Deployment[]): Set<string> | string {
  const targets = deployments.filter(({ spec: { template } }) => selects(selector, template.metadata.labels))
  if (targets.length !== 1) return `selects the Pods of ${targets.length} workloads`
  return new Set(
    targets
      .flatMap(({ spec: { template } }) => template.spec.containers)
      .flatMap(({ ports = [] }) => ports.map(({ name }) => String(name)))
  )
}

function unknownPorts(
  selector: Record<string, string>,
  deployments: readonly Deployment[],
  wanted: readonly (string | number | undefined)[]
): string[] {
  const known = portsOf(selector, deployments)
  if (typeof known === 'string') return [known]
  return wanted
    .filter((port) => !known.has(String(port)))
    .map((port) => `leads to the port ${port}, which no container names`)
}

function leadsNowhere({ spec }: Service, deployments: readonly Deployment[]): string[] {
  return unknownPorts(
    spec.selector,
    deployments,
    spec.ports.map(({ targetPort }) => targetPort)
  )
}

function scrapesNothing({ spec }: PodMonitoring, deployments: readonly Deployment[]): string[] {
  return unknownPorts(
    spec.selector.matchLabels,
    deployments,
    spec.endpoints.map(({ port }) => port)
  )
}

/** A budget that lets no Pod go holds up every upgrade of a node. */
function holdsUp({ spec }: PodDisruptionBudget): string[] {
  return spec.maxUnavailable !== undefined && spec.maxUnavailable > 0 ? [] : ['may hold a node up for ever']
}

function opensNothing({ spec }: NetworkPolicy, deployments: readonly Deployment[]): string[] {
  const own = (spec.ingress ?? []).flatMap(({ ports = [] }) => ports.map(({ port }) => port))
  const theirs = (spec.egress ?? []).flatMap(({ to = [], ports = [] }) =>
    to.flatMap(({ podSelector }) =>
      podSelector
        ? unknownPorts(
            podSelector.matchLabels,
            deployments,
            ports.map(({ port }) => port)
          )
        : []
    )
  )
  return [...unknownPorts(spec.podSelector.matchLabels, deployments, own), ...theirs]
}

function scalesNothing({ spec }: Autoscaler, deployments: readonly Deployment[]): string[] {
  const target = deployments.find(
    ({ kind, metadata }) => kind === spec.scaleTargetRef.kind && metadata.name === spec.scaleTargetRef.name
  )
  if (target === undefined) return [`scales ${spec.scaleTargetRef.name}, which does not exist`]
  return target.spec.replicas === undefined ? [] : ['is overruled by spec.replicas at every apply']
}

function asksNobody({ spec }: ScaledObject, manifests: readonly Manifest[]): string[] {
  const known = new Set(ofKind(manifests, 'TriggerAuthentication').map(({ metadata }) => metadata.name))
  const wanted = spec.triggers.flatMap(({ authenticationRef }) => (authenticationRef ? [authenticationRef.name] : []))
  return wanted.filter((name) => !known.has(name)).map((name) => `identifies itself by ${name}, which does not exist`)
}

/** Managed Prometheus answers for a whole project: a query that names no cluster or namespace adds up those of others. */
function countsOthers({ metadata, spec }: ScaledObject): string[] {
  const queries = spec.triggers.flatMap(({ metadata: { query } }) => query ?? [])
  return queries
    .filter((query) => {
      const selectors = [...query.matchAll(/\b[a-z]+_[a-z_]+(\{[^}]*\})?/g)].map(([, selector = '']) => selector)
      return selectors.some(
        (selector) =>
          !/\bcluster="(?!CLUSTER")[^"]+"/.test(selector) || !selector.includes(`namespace="${metadata.namespace}"`)
      )
    })
    .map((query) => `asks for more than its own cluster and namespace: ${query}`)
}
