import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { loadOptions, packageRoot } from '../../src/gateway-options.js'

/** Starts a worker with the fake engine that is not the gateway's child; ends it after the test. */
export function startWorker(endpoint: string, name: string, env: NodeJS.ProcessEnv = {}): ChildProcess {
  const { python, models } = loadOptions([], {})
  const args = [
    '--connect',
    endpoint,
    '--name',
    name,
    '--engine',
    'fake',
    '--model',
    models[0]!.path,
    '--sizes',
    '64x64',
    '--fake-step-ms',
    '10'
  ]
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
