import { expect, it } from 'vitest'
import { generate, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'

async function status(url: string): Promise<number> {
  return (await fetch(url)).status
}

it('says that a server is starting while no worker is ready', async () => {
  // Longer than any test: the worker must not become ready first, however slow the machine is.
  const server = await startServer({ WORKER_ARGS: '--fake-warm-ms 3600000' })
  expect(await status(`${server.url}/health/live`)).toBe(200)
  expect(await status(`${server.url}/health/ready`)).toBe(503)
  expect(await status(`${server.url}/health/startup`)).toBe(503)
  expect(await status(`${server.url}/v2/health/live`)).toBe(200)
  expect(await status(`${server.url}/v2/health/ready`)).toBe(503)
  const starting = await fetch(`${server.url}/health`)
  expect(starting.status).toBe(503)
  expect(await starting.json()).toMatchObject({
    status: 'starting',
    model: null,
    sizes: [],
    coming: [],
    workers: { expected: 1, ready: 0 }
  })
})

it('says that a server is ready once a worker is', async () => {
  const server = await startReadyServer()
  expect(await status(`${server.url}/health/ready`)).toBe(200)
  expect(await status(`${server.url}/health/startup`)).toBe(200)
  expect(await status(`${server.url}/v2/health/ready`)).toBe(200)
  const ready = await fetch(`${server.url}/health`)
  expect(ready.status).toBe(200)
  expect(await ready.json()).toMatchObject({
    status: 'ready',
    model: { id: 'fake' },
    sizes: [
      [64, 64],
      [32, 48]
    ],
    workers: { ready: 1 }
  })
})

it('reports requests, rows and steps while images are made', async () => {
  const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
  const requests = [1, 2].map(() => generate(server, { prompt: 'x', num_inference_steps: 40 }))
  await until('four rows are in use', async () => {
    const health = (await (await fetch(`${server.url}/health`)).json()) as {
      workers: { list: { rows_in_use: number; steps_total: number }[] }
      requests: { in_flight: number }
    }
    return (
      health.requests.in_flight === 2 &&
      health.workers.list[0]?.rows_in_use === 4 &&
      health.workers.list[0].steps_total > 0
    )
  })
  await Promise.all(requests)
})

it('reports unavailable while the only worker is being replaced', async () => {
  const server = await startReadyServer({ RESTART_BACKOFF: '2' })
  process.kill(server.pool.workerPids[0]!, 'SIGKILL')
  await until('the gateway is not ready', async () => (await status(`${server.url}/health/ready`)) === 503)
  expect(await (await fetch(`${server.url}/health`)).json()).toMatchObject({ status: 'unavailable' })
  // Liveness and startup stay green: restarting the Pod would not help, and would take longer.
  expect(await status(`${server.url}/health/live`)).toBe(200)
  expect(await status(`${server.url}/health/startup`)).toBe(200)
})
