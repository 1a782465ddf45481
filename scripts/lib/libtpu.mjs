// @ts-check
import { python } from '../../tools/setup.mjs'
import { cachedByLock, installLocked } from '../../tools/tool-cache.mjs'

const LOCK = 'python-worker/requirements-libtpu.lock'

/**
 * Fetches the TPU's compiler for PYTHONPATH. It is not in the worker's environment, because jax would look for a TPU there.
 *
 * @returns {Promise<string | undefined>} its folder; undefined on unsupported machines
 */
export async function libtpu() {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  const title = "Fetching the TPU's compiler (200 MB, 700 MB on disk)"
  return cachedByLock('libtpu', LOCK, title, (folder) => installLocked(python, LOCK, ['--no-deps', '--target', folder]))
}
