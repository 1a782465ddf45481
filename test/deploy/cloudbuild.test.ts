import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { packageRoot } from '../../src/gateway-options.js'
import { readDockerfile } from './dockerfile.js'

interface Build {
  substitutions: Record<string, string>
  steps: {
    id: string
    name: string
    args: string[]
    entrypoint?: string
    allowFailure?: boolean
    allowExitCodes?: number[]
    waitFor?: string[]
  }[]
  timeout: string
  options: { machineType: string; dynamicSubstitutions: boolean }
}

/** Substitutions that Cloud Build itself defines, of those that may be used here. */
const BUILT_IN = ['PROJECT_ID', 'BUILD_ID', 'COMMIT_SHA']

const text = readFileSync(join(packageRoot, 'cloudbuild.yaml'), 'utf8')
const build = parse(text) as Build
/** The steps that build an image; the one before them makes their builder. */
const steps = build.steps.filter(({ args }) => args.includes('build'))
const builder = build.steps.find(({ args }) => args.includes('create'))
const audits = build.steps.filter(({ id }) => id.startsWith('audit-'))
const stages = readDockerfile()

describe('cloudbuild.yaml', () => {
  it('builds every image, each from a target of the Dockerfile', () => {
    const targets = steps.flatMap(({ args }) => valuesOf(args, '--target'))
    expect(targets).toEqual(
      stages
        .filter(({ instructions }) => instructions.some(({ keyword }) => keyword === 'USER'))
        .map(({ name }) => name)
    )
    expect(steps.map(({ id }) => id)).toEqual(targets)
  })

  it('passes build arguments that the target has', () => {
    for (const { id, args } of steps) {
      const names = valuesOf(args, '--build-arg').map((argument) => argument.split('=')[0])
      const declared = stages.find(({ name }) => name === id)?.args
      expect(names).toEqual(['VERSION', 'REVISION'])
      expect(declared).toEqual(names)
    }
  })

  it('defines each substitution that it uses, and uses each that it defines', () => {
    const used = [...text.replaceAll(/^\s*#.*$/gm, '').matchAll(/\$\{?(\w+)\}?/g)].map(([, name]) => name ?? '')
    expect(new Set(used.filter((name) => name.startsWith('_')))).toEqual(new Set(Object.keys(build.substitutions)))
    expect(BUILT_IN).toEqual(expect.arrayContaining(used.filter((name) => !name.startsWith('_'))))
    expect(build.options.dynamicSubstitutions).toBe(true)
  })

  it('pushes what it builds to Artifact Registry, under a tag of its own', () => {
    const repository = '${_REGION}-docker.pkg.dev/${PROJECT_ID}/${_REPOSITORY}'
    for (const { id, args } of steps) {
      expect(args).toContain('--push')
      expect(valuesOf(args, '--tag')).toEqual([`${repository}/${id}:\${_TAG}`])
    }
    expect(text).not.toContain(':latest')
  })

  it('says of every image what is in it and how it was made', () => {
    for (const { args } of steps)
      expect(args).toEqual(expect.arrayContaining(['--sbom=true', '--provenance=mode=max', '--push']))
    // Cloud Build pushes these from Docker's store, which would leave the attestations behind.
    expect(build).not.toHaveProperty('images')
  })

  it('builds with a Docker of an exact release', () => {
    for (const { name } of build.steps.filter(({ args }) => args.includes('buildx')))
      expect(name).toMatch(/^docker:\d+\.\d+\.\d+-cli(@sha256:[0-9a-f]{64})?$/)
    expect(build.steps.filter(({ args }) => args.includes('buildx'))).toHaveLength(steps.length + 1)
  })

  it('keeps every stage for the next build, and looks for it where the last one put it', () => {
    for (const { id, args } of steps) {
      const [from = ''] = valuesOf(args, '--cache-from')
      const [to = ''] = valuesOf(args, '--cache-to')
      expect(from).toMatch(new RegExp(`^type=registry,ref=.*/cache:${id}$`))
      expect(to.startsWith(`${from},`)).toBe(true)
      expect(to).toContain('mode=max')
    }
  })

  it('builds in one builder, so that shared stages are made once, and waits for that alone', () => {
    expect(builder?.args).toEqual(expect.arrayContaining(['buildx', 'create', '--driver=docker-container']))
    for (const { args, waitFor } of steps) {
      expect(valuesOf(args, '--builder')).toEqual(valuesOf(builder?.args ?? [], '--name'))
      expect(waitFor).toEqual([builder?.id])
    }
  })

  it('builds nothing before both audits have found nothing', () => {
    expect(audits.map(({ id }) => id)).toEqual(['audit-npm', 'audit-pip'])
    expect(builder?.waitFor).toEqual(audits.map(({ id }) => id))
    for (const { waitFor, allowFailure, allowExitCodes } of audits)
      expect([waitFor, allowFailure, allowExitCodes]).toEqual([['-'], undefined, undefined])
    // A step may only wait for one that stands before it.
    for (const [index, { waitFor = [] }] of build.steps.entries())
      expect([...build.steps.slice(0, index).map(({ id }) => id), '-']).toEqual(expect.arrayContaining(waitFor))
    expect(new Set(build.steps.map(({ id }) => id)).size).toBe(audits.length + 1 + steps.length)
  })

  it('audits with the tools, and of the packages, that the images are made with', () => {
    const [npm, pip] = audits
    const bases = Object.fromEntries(stages.map(({ name, base }) => [name, base]))
    expect([npm?.name, pip?.name]).toEqual([bases['node-base'], bases['python-base']])
    expect([npm?.entrypoint, npm?.args]).toEqual(['npm', ['audit', '--omit=dev', '--audit-level=high']])
    const [flags, script = ''] = pip?.args ?? []
    expect([pip?.entrypoint, flags]).toEqual(['bash', '-euc'])
    expect(spawnSync('bash', ['-n'], { input: script, encoding: 'utf8' }).stderr).toBe('')
    const [, install = '', audit = ''] = script.trim().split('\n')
    expect(install).toContain('--require-hashes')
    expect(audit).toMatch(/pip-audit --strict .*--require-hashes/)
    const audited = [...audit.matchAll(/--requirement (\S+)/g)].map(([, file = '']) => file)
    const shipped = stages
      .flatMap(({ copies }) => copies.flatMap(({ sources }) => sources))
      .filter((file) => file.endsWith('.lock'))
    expect(audited.toSorted()).toEqual([...new Set(shipped)].toSorted())
    for (const [, file = ''] of script.matchAll(/--requirement (\S+)/g))
      expect(existsSync(join(packageRoot, file))).toBe(true)
  })

  it('bounds its time', () => {
    expect(Number.parseInt(build.timeout, 10)).toBeLessThanOrEqual(3600)
    expect(build.options.machineType).toMatch(/^E2_HIGHCPU_/)
  })
})

function valuesOf(args: readonly string[], flag: string): string[] {
  return args.filter((argument) => argument.startsWith(`${flag}=`)).map((argument) => argument.slice(flag.length + 1))
}
