// @ts-check
import { once } from 'node:events'
import { join } from 'node:path'
import { startChild } from '../../tools/children.mjs'
import { readyAddress } from '../../tools/gateway.mjs'
import { root } from '../../tools/run.mjs'

/**
 * Starts our gateway as it is deployed, with a worker that runs the fake engine.
 *
 * @param {string} workerArgs
 * @param {NodeJS.ProcessEnv} [env]
 */
export async function startGateway(workerArgs, env = {}) {
  const server = startChild(process.execPath, [join(root, 'dist/main.js'), '--host', '127.0.0.1', '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ENGINE: 'fake', LOG_FORMAT: 'json', LOG_LEVEL: 'info', WORKER_ARGS: workerArgs, ...env }
  })
  const stop = async () => {
    server.kill('SIGTERM')
    if (server.exitCode === null) await once(server, 'exit')
  }
  try {
    return { url: await readyAddress(server), pid: /** @type {number} */ (server.pid), stop }
  } catch (error) {
    await stop()
    throw error
  }
}
