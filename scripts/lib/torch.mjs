// @ts-check
// The Python environment with torch, diffusers and transformers, which only comparisons with them need.
import { join } from 'node:path'
import { fillVenv, installing } from '../../tools/installing.mjs'
import { root } from '../../tools/run.mjs'
import { python } from '../../tools/setup.mjs'
import { freshness } from '../../tools/stamp.mjs'

const VENV = 'python-worker/.venv-torch'
const REQUIREMENTS = 'python-worker/demo/training/requirements.txt'
const LOCK = 'python-worker/requirements.lock'

/**
 * Installs the required packages and returns the environment's Python. Needs the worker's own environment.
 *
 * @returns {Promise<string>}
 */
export async function torchPython() {
  await freshness(`${VENV}/.stamp`, [REQUIREMENTS, LOCK]).make((whole) =>
    installing('Installing torch, diffusers and transformers (about 2 GB on disk)', VENV, () =>
      fillVenv(VENV, python, whole, [
        ['--require-hashes', '-r', LOCK],
        ['-r', REQUIREMENTS]
      ])
    )
  )
  return join(root, VENV, 'bin/python')
}
