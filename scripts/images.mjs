// @ts-check
// Builds every image of the Dockerfile from the current commit without a Docker engine, runs them, and prints their sizes.
// Needs root and Debian's buildah and mmdebstrap. Not part of npm test, because it takes minutes and gigabytes.
//
//   node scripts/images.mjs [TARGET...]
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { tryImages } from './lib/image-trial.mjs'
import { root, run, script, step, StepError } from '../tools/run.mjs'
import { standInBases } from './lib/stand-in-bases.mjs'

const folder = join(tmpdir(), 'easel-images')
const context = join(folder, 'context')
const storage = ['--root', join(folder, 'storage'), '--runroot', join(folder, 'run'), '--storage-driver', 'overlay']

/** @param {readonly string[]} args */
const buildah = (args) => run('buildah', [...storage, ...args], { quiet: true })

await script(async () => {
  const { positionals } = parseArgs({ allowPositionals: true })
  const targets = positionals.length > 0 ? positionals : targetsOfDockerfile()
  await needTools()
  mkdirSync(folder, { recursive: true })
  await standInBases(buildah, folder)
  await checkOut()
  const rows = []
  for (const target of targets) {
    await step(`Building ${target}`, () => build(target))
    rows.push([target, ...(await sizes(target))])
  }
  await tryImages(buildah, targets)
  process.stdout.write(
    `\n| image | on disk | to pull |\n|---|---|---|\n${rows.map((row) => `| ${row.join(' | ')} |`).join('\n')}\n`
  )
  process.stdout.write(`\n${targets.length} passed, 0 failed\n`)
})

/** The stages that become images: those with a USER. */
function targetsOfDockerfile() {
  const stages = readFileSync(join(root, 'Dockerfile'), 'utf8')
    .split(/^FROM \S+ AS /m)
    .slice(1)
  return stages.filter((stage) => /^USER /m.test(stage)).map((stage) => stage.split('\n')[0] ?? '')
}

async function needTools() {
  if (process.getuid?.() !== 0) throw new StepError('Building images uses chroot, which needs root: run this with sudo')
  for (const tool of ['buildah', 'mmdebstrap']) {
    await run(tool, ['--version'], { quiet: true }).catch(() => {
      throw new StepError(
        `${tool} is missing. On Debian: apt-get install --no-install-recommends buildah crun mmdebstrap`
      )
    })
  }
}

/** The build context: the current commit without untracked or changed files. */
async function checkOut() {
  rmSync(context, { recursive: true, force: true })
  mkdirSync(context)
  await run('git', ['archive', '--output', `${context}.tar`, 'HEAD'], { quiet: true })
  await run('tar', ['--extract', '--file', `${context}.tar`, '--directory', context], { quiet: true })
}

/** @param {string} target */
function build(target) {
  const revision = ['--build-arg', 'VERSION=trial', '--build-arg', 'REVISION=trial']
  // Cache mounts and HEALTHCHECK need Docker's format. Chroot isolation gives no privileges that a container lacks.
  const options = [
    '--isolation',
    'chroot',
    '--format',
    'docker',
    '--layers',
    '--pull-never',
    '--target',
    target,
    '--tag',
    `easel-${target}`
  ]
  return buildah(['build', ...options, ...revision, context])
}

/**
 * @param {string} target
 * @returns {Promise<[string, string]>} the size unpacked, and compressed as in a registry
 */
async function sizes(target) {
  const copy = join(folder, 'push')
  rmSync(copy, { recursive: true, force: true })
  await buildah(['push', '--quiet', `easel-${target}`, `dir:${copy}`])
  const packed = readdirSync(copy).reduce((sum, file) => sum + statSync(join(copy, file)).size, 0)
  rmSync(copy, { recursive: true, force: true })
  const [image] = JSON.parse(await buildah(['images', '--json', `easel-${target}`]))
  return [image.size, `${Math.round(packed / 1e6)} MB`]
}
