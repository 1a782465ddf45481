// @ts-check
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, run, step, StepError } from './run.mjs'
import { freshness } from './stamp.mjs'

const MIN_NODE = '20.19'
const MIN_PYTHON = '3.11'

/** The worker's own Python. */
export const python = join(root, 'python-worker/.venv/bin/python')

/** @typedef {'runtime' | 'test' | 'web'} Purpose `web` takes no Python: the page's own process makes no images */

/**
 * Installs what running (or testing) takes, as the lock files say. Does nothing where nothing has changed.
 *
 * @param {Purpose} purpose
 */
export async function setup(purpose) {
  checkNode()
  await installNode()
  if (purpose !== 'web') await installPython(purpose)
}

/** Compiles the gateway to dist/ unless that is up to date. */
export async function build() {
  const stamp = freshness('dist/.stamp', ['src', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json'])
  if (stamp.fresh) return
  await step('Building the gateway', async () => {
    rmSync(join(root, 'dist'), { recursive: true, force: true })
    await run('npm', ['run', '--silent', 'build'])
    stamp.mark()
  })
}

function checkNode() {
  if (atLeast(process.versions.node, MIN_NODE)) return
  throw new StepError(`Easel needs Node ${MIN_NODE} or newer, this is ${process.versions.node}. See https://nodejs.org`)
}

async function installNode() {
  const stamp = freshness('node_modules/.easel-stamp', ['package-lock.json'], process.version)
  if (stamp.fresh) return
  await step('Installing the Node packages', async () => {
    await run('npm', ['ci', '--loglevel=error', '--no-audit', '--no-fund'], { quiet: true })
    stamp.mark()
  })
}

/** @param {Purpose} purpose */
async function installPython(purpose) {
  const lock = purpose === 'test' ? 'requirements-test.lock' : 'requirements.lock'
  const version = await pythonVersion()
  const test = freshness('python-worker/.venv/.stamp-test', ['python-worker/requirements-test.lock'], version.text)
  // What the tests need holds all that running needs.
  if (test.fresh) return
  const stamp = purpose === 'test' ? test : freshness('python-worker/.venv/.stamp-runtime', ['python-worker/requirements.lock'], version.text)
  if (stamp.fresh) return
  await step(`Installing the Python packages (JAX and more, about 700 MB on disk)`, async () => {
    if (!existsSync(python)) await createVenv(version.command)
    const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--require-hashes']
    await run(python, [...install, '-r', `python-worker/${lock}`], { quiet: true })
    stamp.mark()
  })
}

/** @param {string} command */
async function createVenv(command) {
  try {
    await run(command, ['-m', 'venv', 'python-worker/.venv'], { quiet: true })
  } catch (error) {
    rmSync(join(root, 'python-worker/.venv'), { recursive: true, force: true })
    throw new StepError(`${/** @type {Error} */ (error).message}\nThe worker needs Python's venv module; on Debian and Ubuntu: apt-get install python3-venv`)
  }
}

/** The Python to build on: $PYTHON, else the newest on the PATH that will do. */
async function pythonVersion() {
  const candidates = process.env['PYTHON'] ? [process.env['PYTHON']] : ['python3', 'python3.13', 'python3.12', 'python3.11', 'python']
  for (const command of candidates) {
    const text = await run(command, ['-c', 'import sys; print("%d.%d.%d" % sys.version_info[:3])'], { quiet: true }).catch(() => '')
    if (atLeast(text, MIN_PYTHON)) return { command, text: text.trim() }
  }
  throw new StepError(`The worker needs Python ${MIN_PYTHON} or newer, and none of ${candidates.join(', ')} is one. Install it, or point PYTHON at one.`)
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
