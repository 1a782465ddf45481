import {
  type BackendPolicy,
  type Gateway,
  type HealthCheckPolicy,
  type HttpRoute,
  type Manifest,
  ofKind,
  type Service
} from './manifests.js'
import { found } from './policy-rules.js'

/** What a route is for before components/place has said the name. */
const NO_HOST = 'HOST'

/** What is wrong with the way in from the world: a route that leads nowhere, a backend that keeps the balancer's defaults. */
export function strayRoutes(manifests: readonly Manifest[]): string[] {
  const name = (object: Manifest, sentences: string[]) =>
    sentences.map((sentence) => `${object.kind} ${object.metadata.name} ${sentence}`)
  const routes = ofKind<HttpRoute>(manifests, 'HTTPRoute')
  const policies = [
    ...ofKind<BackendPolicy>(manifests, 'GCPBackendPolicy'),
    ...ofKind<HealthCheckPolicy>(manifests, 'HealthCheckPolicy')
  ]
  return [
    ...ofKind<Gateway>(manifests, 'Gateway').flatMap((gateway) => name(gateway, listens(gateway, routes))),
    ...routes.flatMap((route) => name(route, leads(route, manifests))),
    ...policies.flatMap((policy) =>
      name(
        policy,
        serviceOf(policy.spec.targetRef.name, manifests) === undefined
          ? [`is about ${policy.spec.targetRef.name}, which does not exist`]
          : []
      )
    )
  ]
}

function serviceOf(name: string, manifests: readonly Manifest[]): Service | undefined {
  return ofKind<Service>(manifests, 'Service').find(({ metadata }) => metadata.name === name)
}

function listens({ metadata, spec }: Gateway, routes: readonly HttpRoute[]): string[] {
  const attached = (listener: string) =>
    routes.filter((route) =>
      route.spec.parentRefs.some(({ name, sectionName }) => name === metadata.name && sectionName === listener)
    )
  return spec.listeners.flatMap(({ name, protocol }) => {
    const rules = attached(name).flatMap((route) => route.spec.rules)
    return found({
      [`has the listener ${name}, which no route is for`]: rules.length === 0,
      [`serves plain HTTP at ${name}`]:
        protocol === 'HTTP' && rules.some(({ backendRefs = [] }) => backendRefs.length > 0)
    })
  })
}

function leads({ spec }: HttpRoute, manifests: readonly Manifest[]): string[] {
  const gateways = ofKind<Gateway>(manifests, 'Gateway')
  const backends = spec.rules.flatMap(({ backendRefs = [] }) => backendRefs)
  return [
    ...found({
      'is for any name there is': spec.hostnames === undefined,
      'is for a name that says no place: is components/place the last one?': spec.hostnames?.includes(NO_HOST)
    }),
    ...spec.parentRefs
      .filter(
        ({ name, sectionName }) =>
          !gateways.some(
            (gateway) =>
              gateway.metadata.name === name && gateway.spec.listeners.some((listener) => listener.name === sectionName)
          )
      )
      .map(({ name, sectionName }) => `hangs on ${name}/${sectionName}, which does not exist`),
    ...backends.flatMap(({ name, port }) => {
      const service = serviceOf(name, manifests)
      const policed = (kind: string) =>
        ofKind<BackendPolicy>(manifests, kind).some(
          ({ spec: { targetRef } }) => targetRef.kind === 'Service' && targetRef.name === name
        )
      return found({
        [`leads to ${name}:${port}, which does not exist`]: !service?.spec.ports.some((own) => own.port === port),
        [`leads to ${name}, which is open to the world beside it`]: service?.spec.type === 'LoadBalancer',
        [`leads to ${name}, whose answers the balancer cuts after 30 s`]: !policed('GCPBackendPolicy'),
        [`leads to ${name}, whose health nobody asks for where it tells it`]: !policed('HealthCheckPolicy')
      })
    })
  ]
}
