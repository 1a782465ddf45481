// What the custom resources that we use may hold, in short form: the fields we set, as their definitions have them
// (names, types and what is required). An unknown field is refused.
// GoogleCloudPlatform/prometheus-engine, manifests/setup.yaml; kedacore/keda, config/crd/bases;
// kubernetes-sigs/gateway-api v1.4, config/crd/standard; GoogleCloudPlatform/gke-gateway-api, config/crd;
// cloud.google.com/kubernetes-engine/docs/reference/crds/computeclass.

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
  return [
    `${apiVersion}/${kind}`,
    object({ apiVersion: { const: apiVersion }, kind: { const: kind }, metadata, spec }, [
      'apiVersion',
      'kind',
      'metadata',
      'spec'
    ])
  ]
}

const rule = object(
  { alert: string, record: string, expr: string, for: duration, labels: strings, annotations: strings },
  ['expr']
)
const scaleTarget = object({ apiVersion: string, kind: string, name: string }, ['name'])
const trigger = object(
  {
    type: string,
    name: string,
    metadata: strings,
    authenticationRef: object({ name: string, kind: string }, ['name']),
    metricType: string
  },
  ['type', 'metadata']
)
const count = { type: 'integer', minimum: 0 }
const between = (minimum: number, maximum: number) => ({ type: 'integer', minimum, maximum })
const port = between(1, 65_535)
const name = { type: 'string', minLength: 1, maxLength: 253 }
/** A listener's or a section's. */
const dnsName = { ...name, pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$' }
const target = object(
  {
    group: string,
    kind: { type: 'string', pattern: '^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$' },
    name,
    namespace: string
  },
  ['group', 'kind', 'name']
)
const redirect = object({
  scheme: { enum: ['http', 'https'] },
  statusCode: { enum: [301, 302, 303, 307, 308] },
  hostname: dnsName,
  port
})
const filter = object({ type: { enum: ['RequestRedirect'] }, requestRedirect: redirect }, ['type', 'requestRedirect'])
const httpCheck = object({
  host: string,
  port,
  portSpecification: { enum: ['USE_FIXED_PORT', 'USE_NAMED_PORT', 'USE_SERVING_PORT'] },
  requestPath: { type: 'string', pattern: "^\\/[A-Za-z0-9\\/\\-._~%!?$&'()*+,;=:]*$" }
})

/** JSON Schemas by apiVersion/kind. */
export const customResources: Record<string, Schema> = Object.fromEntries([
  resource(
    'monitoring.googleapis.com/v1',
    'PodMonitoring',
    object(
      {
        selector: object({ matchLabels: strings }),
        endpoints: list(
          object(
            {
              port: { type: ['string', 'integer'] },
              path: string,
              interval: duration,
              timeout: duration,
              scheme: string
            },
            ['port']
          )
        ),
        targetLabels: object({
          metadata: list({
            enum: ['pod', 'container', 'node', 'top_level_controller_name', 'top_level_controller_type']
          })
        })
      },
      ['selector', 'endpoints']
    )
  ),
  resource(
    'monitoring.googleapis.com/v1',
    'Rules',
    object(
      {
        groups: list(object({ name: string, interval: duration, rules: list(rule) }, ['name', 'rules']))
      },
      ['groups']
    )
  ),
  resource(
    'keda.sh/v1alpha1',
    'TriggerAuthentication',
    object({
      podIdentity: object({ provider: { enum: ['azure-workload', 'gcp', 'aws', 'aws-eks', 'none'] } }, ['provider'])
    })
  ),
  resource(
    'keda.sh/v1alpha1',
    'ScaledObject',
    object(
      {
        scaleTargetRef: scaleTarget,
        minReplicaCount: count,
        maxReplicaCount: count,
        idleReplicaCount: count,
        pollingInterval: count,
        cooldownPeriod: count,
        fallback: object(
          {
            failureThreshold: count,
            replicas: count,
            behavior: { enum: ['static', 'currentReplicas', 'currentReplicasIfHigher', 'currentReplicasIfLower'] }
          },
          ['failureThreshold', 'replicas']
        ),
        advanced: object({ horizontalPodAutoscalerConfig: object({ name: string, behavior: { type: 'object' } }) }),
        triggers: list(trigger)
      },
      ['scaleTargetRef', 'triggers']
    )
  ),
  resource(
    'cloud.google.com/v1',
    'ComputeClass',
    object(
      {
        activeMigration: object({ optimizeRulePriority: { type: 'boolean' } }),
        nodePoolAutoCreation: object({ enabled: { type: 'boolean' } }),
        nodePoolConfig: object({
          serviceAccount: { type: 'string', pattern: '^[^@]+@[^@]+\\.iam\\.gserviceaccount\\.com$' }
        }),
        whenUnsatisfiable: { enum: ['ScaleUpAnyway', 'DoNotScaleUp'] },
        priorities: list(
          object({
            spot: { type: 'boolean' },
            flexStart: object({
              enabled: { type: 'boolean' },
              nodeRecycling: object({ leadTimeSeconds: count })
            }),
            tpu: object(
              { type: string, count: between(1, 8), topology: { type: 'string', pattern: '^\\d+(x\\d+)+$' } },
              ['type', 'count', 'topology']
            ),
            nodeSystemConfig: object({
              kubeletConfig: object({
                // GKE takes no other values.
                shutdownGracePeriodSeconds: { enum: [0, 30, 120] },
                shutdownGracePeriodCriticalPodsSeconds: between(0, 120)
              })
            })
          })
        )
      },
      ['priorities']
    )
  ),
  resource(
    'gateway.networking.k8s.io/v1',
    'Gateway',
    object(
      {
        gatewayClassName: name,
        addresses: { ...list(object({ type: string, value: name })), maxItems: 16 },
        // Without tls: the certificate map of the annotation has the certificates.
        listeners: list(
          object({ name: dnsName, hostname: dnsName, port, protocol: { enum: ['HTTP', 'HTTPS'] } }, [
            'name',
            'port',
            'protocol'
          ])
        )
      },
      ['gatewayClassName', 'listeners']
    )
  ),
  resource(
    'gateway.networking.k8s.io/v1',
    'HTTPRoute',
    object({
      parentRefs: list(object({ name, namespace: string, sectionName: dnsName }, ['name'])),
      hostnames: { ...list(dnsName), maxItems: 16 },
      rules: list(object({ filters: list(filter), backendRefs: list(object({ name, port, weight: count }, ['name'])) }))
    })
  ),
  resource(
    'networking.gke.io/v1',
    'GCPBackendPolicy',
    object(
      {
        default: object({
          timeoutSec: between(1, 2_147_483_647),
          connectionDraining: object({ drainingTimeoutSec: between(0, 3600) }),
          logging: object({ enabled: { type: 'boolean' }, sampleRate: between(0, 1_000_000) }),
          securityPolicy: string
        }),
        targetRef: target
      },
      ['targetRef']
    )
  ),
  resource(
    'networking.gke.io/v1',
    'HealthCheckPolicy',
    object(
      {
        default: object({
          checkIntervalSec: between(1, 300),
          timeoutSec: between(1, 300),
          healthyThreshold: between(1, 10),
          unhealthyThreshold: between(1, 10),
          logConfig: object({ enabled: { type: 'boolean' } }),
          config: object({ type: { enum: ['HTTP'] }, httpHealthCheck: httpCheck })
        }),
        targetRef: target
      },
      ['targetRef']
    )
  )
])
