// @ts-check
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, run } from '../../tools/run.mjs'
import { python } from '../../tools/setup.mjs'
import { cached } from '../../tools/tool-cache.mjs'

const LOCK = 'python-worker/requirements-libtpu.lock'

/**
 * The TPU's compiler, for PYTHONPATH. It is not in the worker's environment, where jax would look for a TPU with it.
 *
 * @returns {Promise<string | undefined>} its folder; undefined on machines that it does not exist for
 */
export async function libtpu() {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  const lock = createHash('sha256')
    .update(readFileSync(join(root, LOCK)))
    .digest('hex')
    .slice(0, 12)
  return cached(`libtpu-${lock}`, "Fetching the TPU's compiler (200 MB, 700 MB on disk)", async (folder) => {
    const install = [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '--require-hashes',
      '--no-deps',
      '--target',
      folder
    ]
    await run(python, [...install, '-r', LOCK], { quiet: true })
  })
}
