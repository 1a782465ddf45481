import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { kubectl as installKubectl } from '../../tools/deploy-tools.mjs'
import { packageRoot } from '../../src/gateway-options.js'
import {
  type Deployment,
  INSTALL_MS,
  type Manifest,
  named,
  ofKind,
  parseManifests,
  render,
  type Service
} from '../deploy/manifests.js'
import { commandsOf, shellBlocks } from './shell.js'

const pages = ['docs/deploy-gke.md', 'docs/operations.md']
const KINDS: Record<string, string> = {
  deployment: 'Deployment',
  service: 'Service',
  gateway: 'Gateway',
  hpa: 'HorizontalPodAutoscaler',
  scaledobject: 'ScaledObject'
}

let kubectl: string
let manifests: Manifest[]
beforeAll(async () => {
  kubectl = await installKubectl()
  manifests = (await Promise.all(['gke', 'gke-keda', 'gke-https'].map(render))).flatMap(parseManifests)
}, INSTALL_MS)

/** What kubectl's own help says of a command. */
const helps = new Map<string, string>()
function helpOf(words: readonly string[]): string {
  const verb = words[0] ?? ''
  const depth = verb === 'create' ? 3 : ['rollout', 'config'].includes(verb) ? 2 : 1
  const name = words.slice(0, depth)
  const key = name.join(' ')
  const help =
    helps.get(key) ??
    execFileSync(kubectl, [...name, '--help'], { encoding: 'utf8' }) +
      execFileSync(kubectl, ['options'], { encoding: 'utf8' })
  helps.set(key, help)
  return help
}

describe.each(pages)('%s', (page) => {
  it('has blocks of shell that bash can read', () => {
    expect(shellBlocks(page).length).toBeGreaterThan(0)
    for (const block of shellBlocks(page))
      expect(spawnSync('bash', ['-n'], { input: block, encoding: 'utf8' }).stderr).toBe('')
  })

  it(
    'uses commands and flags that kubectl has',
    () => {
      const commands = commandsOf(page, 'kubectl')
      expect(commands.length).toBeGreaterThan(5)
      for (const command of commands) {
        // What comes after -- is for the container; what is quoted is no flag.
        const words = (command.split(' -- ')[0] ?? '')
          .replaceAll(/'[^']*'/g, "''")
          .split(/\s+/)
          .slice(1)
        const verb = words[0] === '-n' ? words.slice(2) : words
        const help = helpOf(verb)
        const flags = words.flatMap((word) => /^(--[a-z-]+|-[a-z])(?:=|$)/.exec(word)?.[1] ?? [])
        expect([command, flags.filter((flag) => !new RegExp(`(^|[\\s,])${flag}[\\s,=]`, 'm').test(help))]).toEqual([
          command,
          []
        ])
      }
    },
    INSTALL_MS
  )

  it('names files, objects and containers that exist', () => {
    for (const command of commandsOf(page, 'kubectl')) {
      for (const [, path = ''] of command.matchAll(/ -[kf] (\S+)/g))
        if (!path.startsWith('https:')) expect(existsSync(join(packageRoot, path))).toBe(true)
      for (const [, kind = '', name = ''] of command.matchAll(
        /\b(deployment|service|gateway|hpa|scaledobject)[/ ]([a-z]+[\w-]*)/g
      ))
        expect(() => named(manifests, KINDS[kind] ?? '', name)).not.toThrow()
      for (const [, container = ''] of command.matchAll(/ logs .* -c (\w+)/g)) {
        expect(
          named<Deployment>(manifests, 'Deployment', 'easel').spec.template.spec.containers.map(({ name }) => name)
        ).toContain(container)
      }
    }
    for (const command of commandsOf(page, 'node'))
      expect(existsSync(join(packageRoot, command.split(' ')[1] ?? ''))).toBe(true)
  })
})

describe('docs/deploy-gke.md', () => {
  const text = readFileSync(join(packageRoot, 'docs/deploy-gke.md'), 'utf8')

  it('asks the Service at its name, namespace and port', () => {
    const asked = [...text.matchAll(/http:\/\/(\w+)\.(\w+):(\d+)\//g)].map(([, ...parts]) => parts)
    expect(asked).not.toEqual([])
    for (const [name = '', namespace, port] of asked) {
      const service = named<Service>(manifests, 'Service', name)
      expect([service.metadata.namespace, String(service.spec.ports[0]?.port)]).toEqual([namespace, port])
    }
  })

  it('gives the bucket to the ServiceAccount that the Pods have', () => {
    const subject = /ns\/(\w+)\/sa\/(\w+)$/m.exec(text)?.slice(1)
    const { metadata, spec } = named<Deployment>(manifests, 'Deployment', 'easel')
    expect(subject).toEqual([metadata.namespace, spec.template.spec.serviceAccountName])
  })

  it('makes every Secret that the manifests want, with its keys', () => {
    const command =
      commandsOf('docs/deploy-gke.md', 'kubectl').find((candidate) => candidate.includes('create secret')) ?? ''
    const made = {
      name: / generic (\S+)/.exec(command)?.[1],
      keys: [...command.matchAll(/--from-(?:file|literal)=([\w.]+)/g)].map(([, key]) => key)
    }
    const deployments = ofKind<Deployment>(manifests, 'Deployment').map(({ spec }) => spec.template.spec)
    const wanted = deployments.flatMap(({ containers, volumes = [] }) => [
      ...containers.flatMap(({ env = [] }) => env.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef ?? [])),
      ...volumes.flatMap(({ secret }) => (secret?.items ?? []).map(({ key }) => ({ name: secret?.secretName, key })))
    ])
    expect(wanted.length).toBeGreaterThan(0)
    for (const { name, key } of wanted) expect([name, made.keys]).toEqual([made.name, expect.arrayContaining([key])])
  })

  it('fetches what weights-hub fetches, from the same commit', () => {
    const args = ofKind<Deployment>(manifestsOfHub, 'Deployment')
      .flatMap(({ spec }) => spec.template.spec.initContainers ?? [])
      .flatMap(({ args: given = [] }) => given)
    const revision = args.map((arg) => /@([0-9a-f]{40})$/.exec(arg)?.[1]).find(Boolean)
    expect(revision).toBeDefined()
    expect(text).toContain(`stabilityai/stable-diffusion-xl-base-1.0@${revision} --to=sdxl-base`)
  })
})

let manifestsOfHub: Manifest[]
beforeAll(async () => {
  manifestsOfHub = parseManifests(await render('tpu-v5e-1x1'))
}, INSTALL_MS)
