import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { loadOptions, packageRoot } from '../../src/gateway-options.js'

const FAKE = ['--engine', 'fake', '--sizes', '64x64', '--fake-step-ms', '10']

/**
 * Starts a worker that is not the gateway's child; ends it after the test.
 *
 * @param engine flags that choose and set the engine, by default a fake one
 */
export function startWorker(
  endpoint: string,
  name: string,
  env: NodeJS.ProcessEnv = {},
  engine: readonly string[] = FAKE
): ChildProcess {
  const { python, models } = loadOptions([], {})
  const args = ['--connect', endpoint, '--name', name, '--model', models[0]!.path, ...engine]
  const child = spawn(python, ['-m', 'easel_worker', ...args], {
    cwd: join(packageRoot, 'python-worker'),
    stdio: 'ignore',
    env: { ...process.env, ...env }
  })
  const exit = new Promise((resolve) => child.once('exit', resolve))
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await exit
  })
  return child
}
