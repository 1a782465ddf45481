import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkers } from '../../tools/deploy-tools.mjs'
import { packageRoot } from '../../src/gateway-options.js'
import { environmentOf, readDockerfile, type Stage } from './dockerfile.js'
import { INSTALL_MS } from './manifests.js'
import { gateway, type Program, unread, webapp, worker } from './programs.js'

const stages = readDockerfile()
const targets: [string, Program[], string[]][] = [
  ['gateway', [gateway], ['node', 'dist/main.js']],
  ['webapp', [webapp], ['node', 'dist/webapp/main.js']],
  ['worker', [worker], ['python', '-m', 'easel_worker']],
  ['worker-cuda', [worker], ['python', '-m', 'easel_worker']],
  ['worker-cpu', [worker], ['python', '-m', 'easel_worker']],
  ['all-in-one', [gateway, worker], ['node', 'dist/main.js']]
]

describe('Dockerfile', () => {
  it(
    'leaves hadolint nothing to say',
    async () => {
      const { hadolint } = await checkers()
      const { status, stdout, stderr } = spawnSync(hadolint, [join(packageRoot, 'Dockerfile')], { encoding: 'utf8' })
      expect(stdout + stderr).toBe('')
      expect(status).toBe(0)
    },
    INSTALL_MS
  )

  it('starts from images of exact releases', () => {
    const bases = stages.map(({ base }) => base).filter((base) => !stages.some(({ name }) => name === base))
    expect(bases).toHaveLength(2)
    for (const base of bases) expect(base).toMatch(/^(node|python):\d+\.\d+\.\d+-[a-z-]+(@sha256:[0-9a-f]{64})?$/)
  })

  it('copies only what is there, and lets nothing else into the build', () => {
    const sources = stages
      .flatMap(({ copies }) => copies.filter(({ from }) => from === undefined))
      .flatMap((copy) => copy.sources)
    expect(sources.filter((source) => !existsSync(join(packageRoot, source)))).toEqual([])
    expect(new Set(readContext())).toEqual(new Set(sources))
  })

  it('copies from stages that come before', () => {
    const early = stages.flatMap(({ copies }, index) =>
      copies.filter(({ from }) => from !== undefined && !stages.slice(0, index).some(({ name }) => name === from))
    )
    expect(early).toEqual([])
    expect(stages.flatMap(({ copies }) => copies).filter(({ from }) => from !== undefined).length).toBeGreaterThan(5)
  })
})

describe.each(targets)('the target %s', (name, programs, command) => {
  const stage = stages.find((candidate) => candidate.name === name) as Stage

  it('sets only variables that somebody reads, to values that the program takes', () => {
    // The image's PATH leads to its own Python, which is not on this machine.
    const { PATH: _, ...environment } = environmentOf(stages, name)
    expect(unread(Object.keys(environment), programs)).toEqual([])
    for (const program of programs) expect(() => program.accept(environment)).not.toThrow()
  })

  it('runs the program under tini, as a user without rights', () => {
    expect(JSON.parse(inherited(stage, 'ENTRYPOINT'))).toEqual(['/usr/bin/tini', '--'])
    expect(JSON.parse(contentOf(stage, 'CMD'))).toEqual(command)
    expect(contentOf(stage, 'USER')).toMatch(/^[1-9]\d+:[1-9]\d+$/)
    const afterUser = stage.instructions.slice(stage.instructions.findIndex(({ keyword }) => keyword === 'USER'))
    expect(afterUser.map(({ keyword }) => keyword)).not.toContain('RUN')
  })

  it('installs packages in stages that are thrown away', () => {
    const runs = lineage(stage)
      .flatMap(({ instructions }) => instructions)
      .filter(({ keyword }) => keyword === 'RUN')
      .map(({ content }) => content)
    expect(runs).toHaveLength(1)
    expect(runs.join()).not.toMatch(/\b(npm|pip|gcc|make|build-essential)\b/)
  })

  it('says what it is', () => {
    const label = (key: string) => stage.labels[`org.opencontainers.image.${key}`]
    expect(label('title')).toBe(`Easel ${name}`)
    expect(label('licenses')).toBe('Apache-2.0')
    expect([label('version'), label('revision')]).toEqual(['${VERSION}', '${REVISION}'])
    expect(stage.args).toEqual(['VERSION', 'REVISION'])
  })
})

describe('the health checks', () => {
  it.each([
    ['gateway', '/health/live'],
    ['all-in-one', '/health/live'],
    ['webapp', '/healthz']
  ])('%s: is healthy while its event loop turns, wherever it listens', (name, path) => {
    expect(contentOf(stageOf(name), 'HEALTHCHECK')).toMatch(
      new RegExp(`http://127\\.0\\.0\\.1:.*process\\.env\\.PORT\\}${path}`)
    )
  })

  it.each(['worker', 'worker-cuda', 'worker-cpu'])('%s: there is none, for it speaks no HTTP', (name) => {
    expect(contentOf(stageOf(name), 'HEALTHCHECK')).toBe('NONE')
  })
})

describe('the workers', () => {
  it.each(['worker-cpu', 'worker-cuda'])(
    '%s has other packages than worker, looks elsewhere for devices, and is the same else',
    (device) => {
      const rest = (name: string) =>
        stageOf(name)
          .instructions.filter(({ keyword }) => keyword !== 'LABEL')
          .map(({ keyword, content }) => (keyword === 'ENV' ? '' : content.replace(/-cpu|-cuda/g, '')))
      expect(rest(device)).toEqual(rest('worker'))
      const { JAX_PLATFORMS: platforms, ...environment } = environmentOf(stages, device)
      expect(platforms).toBe({ 'worker-cpu': 'cpu', 'worker-cuda': 'cuda,cpu' }[device])
      expect(environment).toMatchObject(environmentOf(stages, 'worker'))
    }
  )
})

function stageOf(name: string): Stage {
  const stage = stages.find((candidate) => candidate.name === name)
  if (stage === undefined) throw new Error(`the Dockerfile has no ${name}`)
  return stage
}

/** A stage and those of this file that it is made from. */
function lineage(stage: Stage): Stage[] {
  const base = stages.find(({ name }) => name === stage.base)
  return base === undefined ? [stage] : [stage, ...lineage(base)]
}

function inherited(stage: Stage, keyword: string): string {
  return (
    lineage(stage)
      .map((ancestor) => contentOf(ancestor, keyword))
      .find((content) => content !== '') ?? ''
  )
}

function contentOf(stage: Stage, keyword: string): string {
  return stage.instructions.find((instruction) => instruction.keyword === keyword)?.content ?? ''
}

/** The paths that .dockerignore lets in; it leaves everything out first. */
function readContext(): string[] {
  const lines = readFileSync(join(packageRoot, '.dockerignore'), 'utf8').split('\n')
  expect(lines.find((line) => line !== '' && !line.startsWith('#'))).toBe('*')
  return lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1))
}
