import { once } from 'node:events'
import { expect, it } from 'vitest'
import { generate, metric, running, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

it('a drain finishes some images when sharing the rows among all would finish none in time', async () => {
  // 24 guided images in one batch: 480 ms per step, 19.2 s in total. One image alone: 0.8 s. The drain allows 10 s.
  const IMAGES = 24
  const server = await startReadyServer({ WORKER_ARGS: '--rows 48 --fake-step-times 64x64=0+10' })
  const requests = Array.from({ length: IMAGES }, (_, seed) =>
    generate(server, { prompt: 'x', seed, num_inference_steps: 40 })
  )
  await running(server, 2 * IMAGES)
  await until(
    'all images are being denoised',
    () => server.pool.state.running === IMAGES && (server.pool.state.workers[0]?.heartbeat?.steps_total ?? 0) > 1
  )
  const closed = server.close(10_000)
  const answers = await Promise.all(requests)
  await closed
  const finished = answers.filter(({ status }) => status === 200)
  const refused = answers.filter(({ status }) => status === 503)
  expect(finished.length).toBeGreaterThan(0)
  expect(finished.length + refused.length).toBe(IMAGES)
  for (const answer of refused) {
    expect(answer.headers.get('retry-after')).not.toBeNull()
    expect(await answer.json()).toMatchObject({ code: 'DRAINING' })
  }
})

it('a drain also runs requests queued in the gateway: a short one overtakes those that cannot finish in time', async () => {
  const server = await startReadyServer({ WORKER_ARGS: '--rows 2 --fake-step-times 64x64=0+10' })
  const long = Array.from({ length: 5 }, (_, seed) => generate(server, { prompt: 'x', seed, num_inference_steps: 900 }))
  await running(server, 2)
  await until('the worker has two of the jobs', () => server.pool.state.queued === 3)
  const short = generate(server, { prompt: 'x', num_inference_steps: 2 })
  // An accepted request is not yet a job: a drain that begins before it is one refuses it.
  await until('the short one is a job too', () => server.pool.state.queued === 4)
  const closed = server.close(10_000)
  expect((await short).status).toBe(200)
  for (const answer of long) expect((await answer).status).toBe(503)
  await closed
})

it('a leaving worker gets no new work, and the jobs it gives back wait for another worker', async () => {
  const server = await startServer({ WORKER: 'connect' })
  // Time enough for what it has begun, also if a busy machine's first steps foretell minutes.
  const first = startWorker(server.endpoint, 'first', { FAKE_STEP_MS: '20', DRAIN_GRACE: '3600' })
  await server.pool.firstReady
  const begun = generate(server, { prompt: 'x', num_inference_steps: 100 })
  await running(server)
  first.kill('SIGTERM')
  // If the gateway does not know yet that the worker leaves, it sends the job there once and gets it back.
  const later = generate(server, { prompt: 'y', num_inference_steps: 1 })
  await until('the gateway knows that the worker drains', () => !server.pool.ready)
  expect((await generate(server, { prompt: 'z' })).status).toBe(503)
  startWorker(server.endpoint, 'second')
  expect((await later).status).toBe(200)
  expect((await begun).status).toBe(200)
  if (first.exitCode === null) await once(first, 'exit')
  expect(await metric(server, 'easel_replays_total')).toBeLessThanOrEqual(1)
})
