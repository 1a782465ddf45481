// @ts-check
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { empty, fillVenv, installing, remove } from './installing.mjs'
import { root, run, StepError } from './run.mjs'
import { freshness } from './stamp.mjs'

const MIN_NODE = '20.19'
const MIN_PYTHON = '3.11'

const VENV = 'python-worker/.venv'
/** The worker's own Python. */
export const python = join(root, VENV, 'bin/python')

/** @typedef {'runtime' | 'test' | 'web'} Purpose `web` needs no Python: the page's own process makes no images */

/**
 * Installs what running or testing needs, from the lock files. Does nothing if nothing has changed.
 *
 * @param {Purpose} purpose
 */
export async function setup(purpose) {
  await installNode()
  if (purpose !== 'web') await installPython(purpose)
}

/** Tells whether dist/ has the page as the sources say, which the tests of the page build alone. */
export const page = freshness('dist/page.stamp', ['src/webapp/page', 'src/schemas', 'package-lock.json'])

/** Compiles the gateway and its page to dist/ unless it is up to date. */
export async function build() {
  await freshness('dist/.stamp', ['src', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json']).make(() =>
    installing('Building the gateway', 'dist', async () => {
      await remove(join(root, 'dist'))
      await run('npm', ['run', '--silent', 'build'])
      page.mark()
    })
  )
}

/** Installs the Node packages. */
export async function installNode() {
  checkNode()
  await freshness('node_modules/.easel-stamp', ['package-lock.json'], process.version).make(() =>
    installing('Installing the Node packages (250 MB on disk)', 'node_modules', async () => {
      // npm would remove it too, but fails with ENOTEMPTY after an interrupted install.
      await empty(join(root, 'node_modules'))
      const said = await run('npm', ['ci', '--loglevel=warn', '--no-audit', '--no-fund'], { quiet: true })
      // On a full disk npm truncates files, warns, and exits with status 0.
      const cut = /^.*TAR_ENTRY_ERROR.*$/m.exec(said)?.[0]
      if (cut !== undefined) throw new StepError(`npm did not unpack all files:\n${cut}`)
    })
  )
}

/**
 * Installs the worker's Python packages.
 *
 * @param {'runtime' | 'test'} purpose
 */
export async function installPython(purpose) {
  const version = await pythonVersion()
  const stampOf = (/** @type {string} */ name, /** @type {string} */ lock) =>
    freshness(`${VENV}/.stamp-${name}`, [`python-worker/${lock}`], version.text)
  const stamps = { runtime: stampOf('runtime', 'requirements.lock'), test: stampOf('test', 'requirements-test.lock') }
  // The tests' requirements include the runtime's. A removed Python leaves a dangling link.
  if (stamps.test.isFresh() && existsSync(python)) return
  if (!existsSync(python)) for (const stamp of Object.values(stamps)) stamp.remove()
  await stamps[purpose].make((hadOwn) =>
    installing('Installing the Python packages (JAX and more, about 700 MB on disk)', VENV, async () => {
      const whole = hadOwn || Object.values(stamps).some((stamp) => stamp.exists())
      for (const stamp of Object.values(stamps)) stamp.remove()
      const lock = purpose === 'test' ? 'requirements-test.lock' : 'requirements.lock'
      await fillVenv(VENV, version.command, whole, [['--require-hashes', '-r', `python-worker/${lock}`]])
    })
  )
}

function checkNode() {
  if (atLeast(process.versions.node, MIN_NODE)) return
  throw new StepError(`Easel needs Node ${MIN_NODE} or newer; this is ${process.versions.node}. See https://nodejs.org`)
}

/** The Python to build on: $PYTHON, else the newest suitable one on the PATH. */
async function pythonVersion() {
  const candidates = process.env['PYTHON']
    ? [process.env['PYTHON']]
    : ['python3', 'python3.13', 'python3.12', 'python3.11', 'python']
  for (const command of candidates) {
    const text = await run(command, ['-c', 'import sys; print("%d.%d.%d" % sys.version_info[:3])'], {
      quiet: true
    }).catch(() => '')
    if (atLeast(text, MIN_PYTHON)) return { command, text: text.trim() }
  }
  throw new StepError(
    `The worker needs Python ${MIN_PYTHON} or newer; none of ${candidates.join(', ')} is. Install it, or set PYTHON to its path.`
  )
}

/**
 * @param {string} version such as 3.11.7
 * @param {string} least such as 3.11
 */
function atLeast(version, least) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [leastMajor = 0, leastMinor = 0] = least.split('.').map(Number)
  return major > leastMajor || (major === leastMajor && minor >= leastMinor)
}
