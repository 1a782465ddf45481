import { spawn } from 'node:child_process'
import { expect, it, onTestFinished } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { alive } from '../support/process.js'
import { until } from '../support/wait.js'

/** Room for a build of dist/, where there is none. */
const START_MS = 120_000

interface Started {
  /** npm's own, and its group's. */
  pid: number
  gateway: number
  worker: number
  address: string
  output: () => string
  end: Promise<number | string | null>
}

/** `npm start` as a shell or a supervisor runs it: the leader of a process group. */
async function npmStart(): Promise<Started> {
  const child = spawn('npm', ['start'], {
    cwd: packageRoot,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      HOST: '127.0.0.1',
      PORT: '0',
      LOG_FORMAT: 'json',
      ENGINE: 'fake',
      WORKER_ARGS: '--sizes 64x64 --fake-step-ms 20',
      HEARTBEAT_INTERVAL: '0.1'
    }
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk
    })
  // Not 'exit': the gateway outlives an npm that is killed, and prints more.
  const end = new Promise<number | string | null>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal))
  })
  onTestFinished(async () => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // Nothing is left of the group, as it should be.
    }
    await end
  })
  await until(
    'npm start is ready',
    () => {
      if (child.exitCode !== null) throw new Error(`npm start ended:\n${output}`)
      return output.includes('"address":')
    },
    START_MS
  )
  const { pid, address } = JSON.parse(output.split('\n').find((line) => line.includes('"address":'))!) as {
    pid: number
    address: string
  }
  const health = (await (await fetch(`${address}/health`)).json()) as { workers: { list: { pid: number }[] } }
  return { pid: child.pid!, gateway: pid, worker: health.workers.list[0]!.pid, address, output: () => output, end }
}

it.each<[whom: string, signal: NodeJS.Signals, status: number | string]>([
  ['npm', 'SIGTERM', 0],
  ['the whole group', 'SIGTERM', 0],
  ['the whole group', 'SIGINT', 0],
  ['the gateway', 'SIGTERM', 0],
  ['npm', 'SIGKILL', 'SIGKILL']
])(
  '%s gets %s: one drain, the request in flight is answered, and nothing is left',
  { timeout: 2 * START_MS },
  async (whom, signal, status) => {
    const { pid, gateway, worker, address, output, end } = await npmStart()
    const running = fetch(`${address}/generate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'x', num_inference_steps: 100 })
    })
    await until(
      'the request runs',
      async () =>
        ((await (await fetch(`${address}/health`)).json()) as { requests: { in_flight: number } }).requests
          .in_flight === 1
    )
    process.kill({ npm: pid, 'the whole group': -pid, 'the gateway': gateway }[whom]!, signal)
    expect((await running).status).toBe(200)
    expect(await end).toBe(status)
    await until('the gateway and the worker have ended', () => !alive(gateway) && !alive(worker))
    expect(output().match(/finishing running requests/g)).toHaveLength(1)
    expect(output()).not.toMatch(/"second SIG/)
    expect(output().match(/"msg":"stopped"/g)).toHaveLength(1)
  }
)
