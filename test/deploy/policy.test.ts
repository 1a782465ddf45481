import { beforeAll, describe, expect, it } from 'vitest'
import { type Container, type Deployment, INSTALL_MS, type Manifest, only, parseManifests, type PodSpec, render, type Service } from './manifests.js'
import { violations } from './policy.js'

/** Ways to spoil good manifests, with what the policy is to say. A rule that finds nothing in its own case is no rule. */
const spoilt: [string, (pod: PodSpec, gateway: Container, manifests: Manifest[]) => void][] = [
  ['shares a namespace with its node', (pod) => { pod.hostNetwork = true }],
  ['mounts a path of its node', (pod) => { pod.volumes?.push({ name: 'run', hostPath: {} }) }],
  ['may run as root', (pod) => { pod.securityContext = { ...pod.securityContext, runAsUser: 0 } }],
  ['has no seccomp profile', (pod) => { pod.securityContext = { runAsNonRoot: true, runAsUser: 1 } }],
  ['gets a token of the cluster', (pod) => { delete pod.automountServiceAccountToken }],
  ['gateway is privileged', (_, gateway) => { gateway.securityContext = { ...gateway.securityContext, privileged: true } }],
  ['gateway may gain privileges', (_, gateway) => { delete gateway.securityContext?.allowPrivilegeEscalation }],
  ['gateway can write to its root file system', (_, gateway) => { gateway.securityContext = { ...gateway.securityContext, readOnlyRootFilesystem: false } }],
  ['gateway keeps capabilities', (_, gateway) => { gateway.securityContext = { ...gateway.securityContext, capabilities: { drop: ['ALL'], add: ['SYS_RESOURCE'] } } }],
  ["gateway undoes the Pod's user", (_, gateway) => { gateway.securityContext = { ...gateway.securityContext, runAsUser: 0 } }],
  ['gateway requests no CPU or memory', (_, gateway) => { delete gateway.resources?.requests }],
  ['gateway has no limit of CPU or memory', (_, gateway) => { delete gateway.resources?.limits?.['memory'] }],
  ['gateway requests another number of TPU chips', (_, gateway) => { Object.assign(gateway.resources?.limits ?? {}, { 'google.com/tpu': 1 }) }],
  ['whatever that is today', (_, gateway) => { gateway.image = 'registry:5000/easel/gateway' }],
  ['whatever that is today', (_, gateway) => { gateway.image = 'easel/gateway:latest' }],
  ['mounts run, which is no volume', (pod) => { pod.volumes = pod.volumes?.filter(({ name }) => name !== 'run') ?? [] }],
  ['has the volume more, which nothing mounts', (pod) => { pod.volumes?.push({ name: 'more', emptyDir: { sizeLimit: '1Mi' } }) }],
  ['lets run fill the node', (pod) => { for (const { emptyDir } of pod.volumes ?? []) delete emptyDir?.sizeLimit }],
  ['claims weights, which does not exist', (pod) => { pod.volumes?.push({ name: 'run', persistentVolumeClaim: { claimName: 'weights' } }) }],
  ['does not select its own Pods', (_pod, _gateway, manifests) => { only<Deployment>(manifests, 'Deployment').spec.selector.matchLabels = { app: 'other' } }],
  ['selects the Pods of 0 Deployments', (_pod, _gateway, manifests) => { only<Service>(manifests, 'Service').spec.selector = {} }],
  ['leads to the port 8000, which no container names', (_pod, _gateway, manifests) => { Object.assign(only<Service>(manifests, 'Service').spec.ports[0] ?? {}, { targetPort: 8000 }) }]
]

describe('the policy', () => {
  let text: string
  beforeAll(async () => { text = await render('base') }, INSTALL_MS)

  it.each(spoilt)('says: %s', (sentence, spoil) => {
    const manifests = parseManifests(text)
    const pod = only<Deployment>(manifests, 'Deployment').spec.template.spec
    const gateway = pod.containers.find(({ name }) => name === 'gateway')
    if (gateway === undefined) throw new Error('no gateway')
    spoil(pod, gateway, manifests)
    expect(violations(manifests)).toContainEqual(expect.stringContaining(sentence))
  })

  it('has nothing to say of good manifests', () => {
    expect(violations(parseManifests(text))).toEqual([])
  })
})
