import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { kubectl } from '../../tools/deploy-tools.mjs'
import { packageRoot } from '../../src/gateway-options.js'
import { type Deployment, INSTALL_MS, ofKind, overlays, parseManifests } from './manifests.js'
import { violations } from './policy.js'

const digestOf = (letter: string) => `sha256:${letter.repeat(64)}`
const LETTERS: Record<string, string> = { gateway: 'a', worker: 'b', 'worker-cuda': '9', webapp: 'c' }

/** A copy of what the script writes to, and stand-ins for the programs that ask registries: they answer as told, and write down what they were asked. */
function copy(programs: Record<string, string>): {
  folder: string
  pin: (...args: string[]) => { status: number | null; output: string }
  asked: () => string[]
} {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const path of ['k8s', 'Dockerfile', 'cloudbuild.yaml'])
    cpSync(join(packageRoot, path), join(folder, path), { recursive: true })
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const [name, script] of Object.entries(programs)) {
    writeFileSync(join(bin, name), `#!/bin/sh\necho "${name} $*" >> '${folder}/asked'\n${script}\n`)
    chmodSync(join(bin, name), 0o755)
  }
  return {
    folder,
    pin(...args) {
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        [join(packageRoot, 'scripts/pin-images.mjs'), ...args],
        { cwd: folder, encoding: 'utf8', env: { PATH: `${bin}:/usr/bin:/bin` } }
      )
      return { status, output: stdout + stderr }
    },
    asked: () => readFileSync(join(folder, 'asked'), 'utf8').trim().split('\n')
  }
}

/** Answers for an image what its name says, for the tag that it was asked for. */
const GCLOUD = `case "$5" in ${Object.entries(LETTERS)
  .map(([name, letter]) => `*/${name}:*) echo ${digestOf(letter)};;`)
  .join(' ')} esac`

async function imagesOf(folder: string, overlay: string): Promise<string[]> {
  const manifests = parseManifests(
    execFileSync(await kubectl(), ['kustomize', join(folder, 'k8s/overlays', overlay)], { encoding: 'utf8' })
  )
  expect(violations(manifests)).toEqual([])
  return ofKind<Deployment>(manifests, 'Deployment')
    .flatMap(
      ({
        spec: {
          template: { spec }
        }
      }) => [...spec.containers, ...(spec.initContainers ?? [])]
    )
    .map(({ image }) => image)
}

describe('scripts/pin-images.mjs', () => {
  it(
    'has every image of every overlay on GKE pulled by the digest that the registry tells',
    async () => {
      const { folder, pin, asked } = copy({ gcloud: GCLOUD })
      expect(pin('abc1234')).toMatchObject({ status: 0 })
      const repository = 'us-central1-docker.pkg.dev/PROJECT_ID/easel'
      expect(asked()).toEqual(
        Object.keys(LETTERS).map(
          (name) =>
            `gcloud artifacts docker images describe ${repository}/${name}:abc1234 --format=value(image_summary.digest)`
        )
      )
      for (const overlay of overlays.filter((name) => !['cpu-demo', 'valkey'].includes(name))) {
        const images = await imagesOf(folder, overlay)
        expect(images.length).toBeGreaterThan(1)
        for (const image of images) {
          const [, name = ''] = /\/([a-z-]+):abc1234@/.exec(image) ?? []
          expect(image).toBe(`${repository}/${name}:abc1234@${digestOf(LETTERS[name] ?? '?')}`)
        }
      }
    },
    INSTALL_MS
  )

  it('asks again for the tag that is there, and takes a digest for no part of it', () => {
    const { folder, pin, asked } = copy({ gcloud: GCLOUD })
    pin('abc1234')
    const before = readFileSync(join(folder, 'k8s/components/place/place.yaml'), 'utf8')
    expect(pin()).toMatchObject({ status: 0 })
    expect(readFileSync(join(folder, 'k8s/components/place/place.yaml'), 'utf8')).toBe(before)
    expect(asked().at(-1)).toContain('/webapp:abc1234 ')
  })

  it.each([
    [
      'an image that is not there',
      'exit 1',
      'gcloud did not return the digest of us-central1-docker.pkg.dev/PROJECT_ID/easel/gateway:abc1234'
    ],
    ['an answer that is no digest', 'echo latest', 'gcloud returned "latest" for']
  ])('leaves everything as it was at %s', (_, script, message) => {
    const { folder, pin } = copy({ gcloud: script })
    const { status, output } = pin('abc1234')
    expect([status, output]).toEqual([1, expect.stringContaining(message)])
    expect(readFileSync(join(folder, 'k8s/components/place/place.yaml'), 'utf8')).toBe(
      readFileSync(join(packageRoot, 'k8s/components/place/place.yaml'), 'utf8')
    )
  })

  it('pins what the images themselves start from, wherever that is named', () => {
    const { folder, pin, asked } = copy({
      docker: `case "$4" in node:*) echo '{"digest":"${digestOf('d')}"}';; python:*) echo '{"digest":"${digestOf('e')}"}';; docker:*) echo '{"digest":"${digestOf('f')}"}';; esac`
    })
    const read = (file: string) => readFileSync(join(folder, file), 'utf8')
    expect(pin('--bases')).toMatchObject({ status: 0 })
    expect(asked()).toHaveLength(3)
    const bases = [...read('Dockerfile').matchAll(/^FROM (\S+) AS (\S+)-base$/gm)].map(([, base = '']) => base)
    expect(bases).toEqual([
      expect.stringMatching(/^node:[\d.]+-[a-z-]+@sha256:d{64}$/),
      expect.stringMatching(/^python:[\d.]+-[a-z-]+@sha256:e{64}$/)
    ])
    const steps = [...read('cloudbuild.yaml').matchAll(/name: (\S+)/g)].map(([, name = '']) => name)
    expect(steps.length).toBeGreaterThan(5)
    expect(steps.filter((name) => !bases.includes(name) && !/^docker:[\d.]+-cli@sha256:f{64}$/.test(name))).toEqual([])
    const once = read('Dockerfile')
    pin('--bases')
    expect(read('Dockerfile')).toBe(once)
  })

  it('says what it does not know', () => {
    expect(copy({}).pin('--undo')).toMatchObject({
      status: 1,
      output: expect.stringContaining('Unknown option --undo')
    })
  })
})
