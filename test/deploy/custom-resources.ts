// What the custom resources that we use may hold, in short form: the fields we set, as their definitions have them
// (names, types and what is required). An unknown field is refused.
// GoogleCloudPlatform/prometheus-engine, manifests/setup.yaml; kedacore/keda, config/crd/bases.

type Schema = Record<string, unknown>

const string = { type: 'string' }
const strings = { type: 'object', additionalProperties: string }
const duration = { type: 'string', pattern: '^([0-9]+(ms|s|m|h))+$' }

function object(properties: Record<string, Schema>, required: string[] = []): Schema {
  return { type: 'object', properties, required, additionalProperties: false }
}

function list(items: Schema): Schema {
  return { type: 'array', items, minItems: 1 }
}

function resource(apiVersion: string, kind: string, spec: Schema): [string, Schema] {
  const metadata = object({ name: string, namespace: string, labels: strings, annotations: strings }, ['name'])
  return [`${apiVersion}/${kind}`, object({ apiVersion: { const: apiVersion }, kind: { const: kind }, metadata, spec }, ['apiVersion', 'kind', 'metadata', 'spec'])]
}

const rule = object({ alert: string, record: string, expr: string, for: duration, labels: strings, annotations: strings }, ['expr'])
const scaleTarget = object({ apiVersion: string, kind: string, name: string }, ['name'])
const trigger = object({ type: string, name: string, metadata: strings, authenticationRef: object({ name: string, kind: string }, ['name']), metricType: string }, ['type', 'metadata'])
const count = { type: 'integer', minimum: 0 }

/** JSON Schemas by apiVersion/kind. */
export const customResources: Record<string, Schema> = Object.fromEntries([
  resource('monitoring.googleapis.com/v1', 'PodMonitoring', object({
    selector: object({ matchLabels: strings }),
    endpoints: list(object({ port: { type: ['string', 'integer'] }, path: string, interval: duration, timeout: duration, scheme: string }, ['port'])),
    targetLabels: object({ metadata: list({ enum: ['pod', 'container', 'node', 'top_level_controller_name', 'top_level_controller_type'] }) })
  }, ['selector', 'endpoints'])),
  resource('monitoring.googleapis.com/v1', 'Rules', object({
    groups: list(object({ name: string, interval: duration, rules: list(rule) }, ['name', 'rules']))
  }, ['groups'])),
  resource('keda.sh/v1alpha1', 'TriggerAuthentication', object({
    podIdentity: object({ provider: { enum: ['azure-workload', 'gcp', 'aws', 'aws-eks', 'none'] } }, ['provider'])
  })),
  resource('keda.sh/v1alpha1', 'ScaledObject', object({
    scaleTargetRef: scaleTarget,
    minReplicaCount: count,
    maxReplicaCount: count,
    idleReplicaCount: count,
    pollingInterval: count,
    cooldownPeriod: count,
    fallback: object({ failureThreshold: count, replicas: count, behavior: { enum: ['static', 'currentReplicas', 'currentReplicasIfHigher', 'currentReplicasIfLower'] } }, ['failureThreshold', 'replicas']),
    advanced: object({ horizontalPodAutoscalerConfig: object({ name: string, behavior: { type: 'object' } }) }),
    triggers: list(trigger)
  }, ['scaleTargetRef', 'triggers']))
])
