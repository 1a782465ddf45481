import { appendFile, cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import { generate, idle, metric, running, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'

const SLOW = { WORKER_ARGS: '--fake-step-ms 20' }

describe('a worker that dies', () => {
  it('is restarted, and its requests still succeed', async () => {
    const server = await startReadyServer(SLOW)
    const requests = [1, 2, 3].map((seed) => generate(server, { prompt: 'x', seed, num_inference_steps: 30 }))
    await running(server, 6)
    process.kill(server.pool.workerPids[0]!, 'SIGKILL')
    for (const request of requests) expect((await request).status).toBe(200)
    expect(await metric(server, 'easel_worker_restarts_total')).toBe(1)
    expect(await metric(server, 'easel_replays_total')).toBe(3)
    expect(await metric(server, 'easel_workers_lost_total', 'cause="exited"')).toBe(1)
  })

  it('counts as exited even if a ping fails before its exit is seen', async () => {
    const server = await startReadyServer(SLOW)
    process.kill(server.pool.workerPids[0]!, 'SIGKILL')
    // Block the event loop until a heartbeat is due, so that the ping fails before the exit event arrives.
    const end = performance.now() + 300
    while (performance.now() < end);
    await until('the loss is counted', async () => (await metric(server, 'easel_workers_lost_total')) === 1)
    expect(await metric(server, 'easel_workers_lost_total', 'cause="exited"')).toBe(1)
  })

  it('does not change the bytes of an image that is replayed', async () => {
    const server = await startReadyServer(SLOW)
    const body = { prompt: 'replayed', seed: 5, num_inference_steps: 30 }
    const undisturbed = await generate(server, body)
    expect(undisturbed.status).toBe(200)
    // The last heartbeat may still show the first request; after an idle one, `running` refers to the second.
    await idle(server)
    const request = generate(server, body)
    await running(server, 2)
    process.kill(server.pool.workerPids[0]!, 'SIGKILL')
    const disturbed = await request
    expect(disturbed.status).toBe(200)
    expect(await metric(server, 'easel_replays_total')).toBe(1)
    expect(Buffer.from(await disturbed.arrayBuffer()).equals(Buffer.from(await undisturbed.arrayBuffer()))).toBe(true)
  })

  it('twice during the same request fails only that request', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20 --fake-faults exit:666@3' })
    const others = [1, 2, 3].map((seed) => generate(server, { prompt: 'x', seed, num_inference_steps: 30 }))
    await running(server, 6)
    const poisoned = generate(server, { prompt: 'poison', seed: 666, num_inference_steps: 30 })
    const answer = await (await poisoned).json()
    expect(answer).toMatchObject({ statusCode: 500, code: 'WORKER_CRASHED' })
    for (const other of others) expect((await other).status).toBe(200)
  })

  it('by freezing is detected, killed and replaced', async () => {
    const server = await startReadyServer({ ...SLOW, HEARTBEAT_TIMEOUT: '1' })
    const request = generate(server, { prompt: 'x', num_inference_steps: 30 })
    await running(server, 2)
    const pid = server.pool.workerPids[0]!
    process.kill(pid, 'SIGSTOP')
    expect((await request).status).toBe(200)
    expect(server.pool.workerPids).not.toContain(pid)
    expect(await metric(server, 'easel_workers_lost_total', 'cause="silent"')).toBe(1)
  })

  it('by hanging in a step is detected although its heartbeats continue', async () => {
    const server = await startReadyServer({ STEP_TIMEOUT: '1', WORKER_ARGS: '--fake-faults hang:1@2' })
    const hanging = generate(server, { prompt: 'x', seed: 1 })
    expect(await (await hanging).json()).toMatchObject({ code: 'WORKER_CRASHED' })
    expect(await metric(server, 'easel_workers_lost_total', 'cause="hung"')).toBe(2)
    await until('a worker is ready again', () => server.pool.ready)
    expect((await generate(server, { prompt: 'x', seed: 2 })).status).toBe(200)
  })

  it('by its own watchdog counts as hung', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-faults hang:1@2 --step-timeout 0.5' })
    expect(await (await generate(server, { prompt: 'x', seed: 1 })).json()).toMatchObject({ code: 'WORKER_CRASHED' })
    expect(await metric(server, 'easel_workers_lost_total', 'cause="hung"')).toBe(2)
    expect(await metric(server, 'easel_workers_lost_total')).toBe(2)
  })

  it('does not affect the other workers', async () => {
    const server = await startReadyServer({ ...SLOW, WORKERS: '2' })
    await until('both workers are connected', () => server.pool.state.workers.length === 2)
    const requests = Array.from({ length: 12 }, (_, seed) =>
      generate(server, { prompt: 'x', seed, num_inference_steps: 20 })
    )
    await until('both workers are denoising', () =>
      server.pool.state.workers.every(({ heartbeat }) => (heartbeat?.rows_in_use ?? 0) > 0)
    )
    process.kill(server.pool.workerPids[0]!, 'SIGKILL')
    for (const request of requests) expect((await request).status).toBe(200)
  })
})

it("merges a worker's log into the gateway's with its level and the worker's name", async () => {
  const server = await startReadyServer()
  await until('the worker has logged its welcome', () =>
    server.logs.some(({ msg }) => msg === 'welcomed by the gateway')
  )
  const line = server.logs.find(({ msg }) => msg === 'welcomed by the gateway')!
  expect(line).toMatchObject({ level: 30, worker: 'worker-0', pid: server.pool.workerPids[0] })
})

describe('a worker that cannot serve', () => {
  it('because its tokenizers differ is refused with a clear log and not restarted', async () => {
    const other = await mkdtemp(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rm(other, { recursive: true }))
    await cp(loadOptions([], {}).models[0]!.path, other, {
      recursive: true,
      filter: (path) => !path.endsWith('.safetensors')
    })
    await appendFile(join(other, 'tokenizer_2/merges.txt'), 'one more</w>\n')
    const server = await startServer({ WORKER_ARGS: `--model ${other}` })
    await until('the worker is refused', () =>
      server.logs.some(({ msg }) => msg.includes("refused: the worker's model has other tokenizers"))
    )
    await until('the supervisor gives up the worker', () =>
      server.logs.some(({ msg }) => msg.includes('was refused and will not be restarted'))
    )
    expect(server.pool.ready).toBe(false)
  })
})
