import { randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import {
  generate,
  idle,
  metric,
  type RunningServer,
  running,
  startReadyServer,
  startServer
} from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const STEP_S = 0.02

/** Scrapes a metric without labels; undefined if it has no sample. */
async function sample(server: RunningServer, name: string): Promise<number | undefined> {
  const line = new RegExp(`^${name} (\\S+)$`, 'm').exec(await (await fetch(`${server.url}/metrics`)).text())
  return line === null ? undefined : Number(line[1])
}

it('easel_backlog_seconds forecasts when all running and waiting requests will be done', async () => {
  const server = await startReadyServer({
    WORKER_ARGS: `--fake-step-ms ${STEP_S * 1000} --rows 1`,
    DEFAULT_GUIDANCE_SCALE: '1'
  })
  expect(await sample(server, 'easel_backlog_seconds')).toBe(0)
  const leave = new AbortController()
  const asked = [1, 2, 3].map(() =>
    generate(server, { prompt: 'x', num_inference_steps: 500 }, { signal: leave.signal }).catch(() => undefined)
  )
  await until('three requests are accepted', () => server.service.ledger.inFlight === 3)
  await until('the backlog is estimated', async () => ((await sample(server, 'easel_backlog_seconds')) ?? 0) > 0)
  // Three requests in sequence on one row. A busy machine makes steps longer, never shorter.
  expect(await sample(server, 'easel_backlog_seconds')).toBeGreaterThan(2 * 500 * STEP_S)
  leave.abort()
  await Promise.all(asked)
  await idle(server)
  await until('the backlog is empty', async () => (await sample(server, 'easel_backlog_seconds')) === 0)
})

it('easel_backlog_seconds has no sample instead of 0 while work waits and no step has been measured', async () => {
  const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 60000' })
  const leave = new AbortController()
  const asked = generate(server, { prompt: 'x', num_inference_steps: 500 }, { signal: leave.signal }).catch(
    () => undefined
  )
  await running(server)
  expect(await metric(server, 'easel_requests_in_flight')).toBe(1)
  expect(await sample(server, 'easel_backlog_seconds')).toBeUndefined()
  leave.abort()
  await asked
  await until('the backlog is empty', async () => (await sample(server, 'easel_backlog_seconds')) === 0)
})

it('easel_workers_expected is WORKERS with WORKER=connect too', async () => {
  const endpoint = `ipc://${join(tmpdir(), `easel-test-${randomUUID()}.sock`)}`
  const server = await startServer({ WORKER: 'connect', WORKER_ENDPOINT: endpoint, WORKERS: '3' })
  startWorker(endpoint, 'the first of three')
  await server.pool.firstReady
  expect([await metric(server, 'easel_workers_ready'), await metric(server, 'easel_workers_expected')]).toEqual([1, 3])
  expect(await (await fetch(`${server.url}/health`)).json()).toMatchObject({ workers: { expected: 3 } })
})
