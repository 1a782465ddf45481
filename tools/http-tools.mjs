// @ts-check
// Tools that test HTTP, from PyPI and Debian.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { unpackDebian } from './debian.mjs'
import { run, StepError } from './run.mjs'
import { cached, pythonTools } from './tool-cache.mjs'

/**
 * Installs Schemathesis, which tests an HTTP API from its OpenAPI document.
 *
 * @returns {Promise<string>} the Python that has it, for `python -m schemathesis.cli`
 */
export function schemathesis() {
  return pythonTools('schemathesis', 'test/http/requirements.lock', 'Installing schemathesis (90 MB on disk)')
}

/**
 * Returns HAProxy: from the PATH, else Debian's, unpacked without root.
 *
 * @returns {Promise<{ haproxy: string, env: NodeJS.ProcessEnv }>} the program, and the environment that it needs
 */
export async function haproxy() {
  const found = await run('haproxy', ['-v'], { quiet: true }).then(
    () => true,
    () => false
  )
  if (found) return { haproxy: 'haproxy', env: process.env }
  const folder = await cached('haproxy', 'Fetching HAProxy (3 MB)', async (folder) => {
    await unpackDebian(folder, ['haproxy']).catch((error) => {
      if (!(error instanceof StepError)) throw error
      throw new StepError(
        `The test of a gateway apart needs HAProxy, but Debian's package could not be fetched:\n${error.message.trim()}\n` +
          'Install haproxy (2.4 or newer), then run the tests again.'
      )
    })
  })
  const libraries = readdirSync(join(folder, 'usr/lib'))
    .filter((name) => name.endsWith('-linux-gnu'))
    .map((name) => join(folder, 'usr/lib', name))
  return { haproxy: join(folder, 'usr/sbin/haproxy'), env: { ...process.env, LD_LIBRARY_PATH: libraries.join(':') } }
}
