import { type Container, type Deployment, type Manifest, type NetworkPolicy, ofKind, selects } from './manifests.js'
import { found } from './policy-rules.js'

/** What is wrong with a gateway's port for workers, and with the workers that connect to one. */
export function openWorkerPorts(manifests: readonly Manifest[]): string[] {
  return ofKind<Deployment>(manifests, 'Deployment').flatMap((deployment) =>
    deployment.spec.template.spec.containers.flatMap((container) =>
      [...unlocked(container, deployment), ...open(container, deployment, manifests)].map(
        (sentence) => `Deployment ${deployment.metadata.name}: ${sentence}`
      )
    )
  )
}

/** Both ends of TCP take their keys from files of a Secret, and neither has the other's. */
function unlocked(container: Container, { spec }: Deployment): string[] {
  const variables = ownVariables(container)
  const inSecret = (path = '') => {
    const mount = container.volumeMounts?.find(({ mountPath }) => path.replace(/^@/, '').startsWith(`${mountPath}/`))
    return spec.template.spec.volumes?.some(({ name, secret }) => name === mount?.name && secret !== undefined) === true
  }
  const keys = [
    [variables['WORKER_ENDPOINT'], ['CURVE_SECRET_KEY', 'CURVE_WORKER_KEYS']],
    [variables['EASEL_CONNECT'], ['EASEL_CURVE_SECRET_KEY', 'EASEL_CURVE_SERVER_KEY']]
  ] as const
  return keys
    .filter(([address]) => address?.startsWith('tcp://'))
    .flatMap(([, names]) => names)
    .filter((name) => !inSecret(variables[name]))
    .map((name) => `${container.name} takes no ${name} from a Secret`)
}

/** Whoever reaches the port may try keys, and costs the gateway a connection. */
function open(container: Container, { spec }: Deployment, manifests: readonly Manifest[]): string[] {
  const port = portOf(ownVariables(container)['WORKER_ENDPOINT'])
  const name = container.ports?.find(({ containerPort }) => containerPort === port)?.name
  if (port === undefined) return []
  const rules = ofKind<NetworkPolicy>(manifests, 'NetworkPolicy')
    .filter(({ spec: { podSelector } }) => selects(podSelector.matchLabels, spec.template.metadata.labels))
    .flatMap(({ spec: { ingress = [] } }) => ingress)
    .filter(({ ports }) => ports === undefined || ports.some((each) => each.port === name || each.port === port))
  const workers = rules.every(
    ({ from = [] }) => from.length > 0 && from.every(({ podSelector }) => podSelector !== undefined)
  )
  return found({
    [`${container.name} lets other Pods than workers reach its port for workers`]: !workers,
    [`${container.name} lets no worker reach its port for workers`]: rules.length === 0,
    [`${container.name} has its port for workers beside others in one rule`]: rules.some(
      ({ ports = [] }) => ports.length !== 1
    )
  })
}

/** Those that the manifest gives to this container alone: addresses and keys are not shared. */
function ownVariables({ env = [] }: Container): Record<string, string | undefined> {
  return Object.fromEntries(env.map(({ name, value }) => [name, value]))
}

function portOf(endpoint = ''): number | undefined {
  const port = /^tcp:\/\/.*:(\d+)$/.exec(endpoint)?.[1]
  return port === undefined ? undefined : Number(port)
}
