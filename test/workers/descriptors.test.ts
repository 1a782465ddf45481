import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { readyAddress, startProcess } from '../support/process.js'
import { until } from '../support/wait.js'

it('retries a worker that could not be spawned without file descriptors, and succeeds once some are free', async () => {
  const gateway = startProcess('dist/main.js', [], {
    ENGINE: 'fake',
    WORKER_ARGS: '--sizes 64x64 --fake-step-ms 1',
    HEARTBEAT_INTERVAL: '0.1',
    RESTART_BACKOFF: '0.05'
  })
  const address = await readyAddress(gateway)
  const { workers } = (await (await fetch(`${address}/health`)).json()) as { workers: { list: { pid: number }[] } }
  // Open descriptors stay open, but no new ones are allowed.
  limit(gateway.child.pid!, 4)
  process.kill(workers.list[0]!.pid, 'SIGKILL')
  await until(
    'starting the worker has failed twice',
    () => (gateway.output().match(/could not be started: spawn .* EMFILE; restarting it in/g) ?? []).length > 1
  )
  limit(gateway.child.pid!, 1024)
  await until('a worker is ready again', async () => (await fetch(`${address}/health`)).status === 200)
  const answer = await fetch(`${address}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"prompt":"x","num_inference_steps":2}'
  })
  expect(answer.status).toBe(200)
  await answer.arrayBuffer()
  gateway.child.kill('SIGTERM')
  expect(await gateway.exit).toEqual({ code: 0, signal: null })
})

function limit(pid: number, files: number): void {
  execFileSync('prlimit', ['--pid', String(pid), `--nofile=${files}:`])
}
