import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { generate, metric, type RunningServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const holding = (env: NodeJS.ProcessEnv = {}) =>
  startServer({
    WORKER: 'connect',
    HOLD_REQUESTS: 'true',
    WORKER_ENDPOINT: `ipc://${join(tmpdir(), `easel-test-${randomUUID()}.sock`)}`,
    ...env
  })

interface Health {
  status: string
  requests: { in_flight: number; queued: number; held: number }
}

async function health(server: RunningServer): Promise<Health & { code: number }> {
  const response = await fetch(`${server.url}/health`)
  return { ...((await response.json()) as Health), code: response.status }
}

const heldBy = (server: RunningServer, count: number) =>
  until(`${count} requests are held`, async () => (await health(server)).requests.held === count)

const bytesOf = async (response: Promise<Response>) => Buffer.from(await (await response).arrayBuffer())

const seeded = (seed: number) => ({ prompt: 'x', seed, width: 64, height: 64, num_inference_steps: 2 })

describe('before the first worker', () => {
  it('holds requests of every route, and makes them as if they had come later', async () => {
    const server = await holding()
    expect(await health(server)).toMatchObject({ status: 'holding', code: 200 })
    for (const path of ['/health/ready', '/health/startup', '/v2/health/ready'])
      expect((await fetch(`${server.url}${path}`)).status).toBe(200)
    const post = (path: string, body: object) =>
      fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body)
      })
    const early = bytesOf(generate(server, seeded(1)))
    const others = [
      post('/v1/images/generations', { prompt: 'x', n: 2, size: '64x64', num_inference_steps: 2 }),
      post('/sdapi/v1/txt2img', { prompt: 'x', width: 64, height: 64, steps: 2 })
    ]
    await heldBy(server, 3)
    // Four images, each for what a guided one of 30 steps takes.
    expect(await metric(server, 'easel_backlog_chip_seconds')).toBe(14)
    expect(await metric(server, 'easel_requests_held')).toBe(3)
    expect(await metric(server, 'easel_requests_accepted_total')).toBe(0)
    startWorker(server.endpoint, 'first')
    for (const response of await Promise.all(others)) expect(response.status).toBe(200)
    expect((await early).equals(await bytesOf(generate(server, seeded(1))))).toBe(true)
    expect(await health(server)).toMatchObject({ status: 'ready', requests: { held: 0 } })
    await until('nothing is left to do', async () => (await metric(server, 'easel_backlog_chip_seconds')) === 0)
  })

  it('answers 504 at the deadline, of the client or of the server', async () => {
    const server = await holding({ REQUEST_TIMEOUT: '0.3' })
    for (const response of await Promise.all([
      generate(server, { ...seeded(1), timeout: 0.1 }),
      generate(server, seeded(1), { headers: { 'x-request-timeout': '0.1' } }),
      generate(server, seeded(1))
    ])) {
      expect(response.status).toBe(504)
      expect(await response.json()).toMatchObject({
        code: 'DEADLINE_EXCEEDED',
        message: 'no worker was connected before its deadline'
      })
    }
    expect(await metric(server, 'easel_requests_refused_total', 'DEADLINE_EXCEEDED')).toBe(3)
    expect((await health(server)).requests.held).toBe(0)
  })

  it('holds no more than the queue takes, and no more of a key than it may have', async () => {
    const keys = join(tmpdir(), `easel-test-${randomUUID()}.json`)
    const [one, two] = ['one'.repeat(8), 'two'.repeat(8)]
    writeFileSync(
      keys,
      JSON.stringify({
        keys: [
          { name: 'one', key: one, concurrent_requests: 1 },
          { name: 'two', key: two }
        ]
      })
    )
    const server = await holding({ QUEUE_LIMIT: '2', ACCESS_KEYS: keys })
    const leave = new AbortController()
    const ask = (key: string, signal = leave.signal) =>
      generate(server, seeded(1), { headers: { authorization: `Bearer ${key}` }, signal })
    const first = ask(one)
    await heldBy(server, 1)
    const again = await ask(one)
    expect([again.status, await again.json()]).toMatchObject([429, { code: 'CONCURRENCY_LIMITED' }])
    const second = ask(two)
    await heldBy(server, 2)
    const third = await ask(two)
    expect([third.status, await third.json()]).toMatchObject([429, { code: 'QUEUE_FULL' }])
    // Who leaves makes room.
    leave.abort()
    await Promise.allSettled([first, second])
    await heldBy(server, 0)
  })

  it('answers 400 at once to what no worker could make sense of', async () => {
    const server = await holding()
    expect((await generate(server, { prompt: 'x', num_inference_steps: -1 })).status).toBe(400)
  })

  it('answers 503 to those that wait when it shuts down', async () => {
    const server = await holding()
    const waiting = generate(server, seeded(1))
    await heldBy(server, 1)
    const closed = server.close(1000)
    const response = await waiting
    expect([response.status, await response.json()]).toMatchObject([503, { code: 'DRAINING' }])
    await closed
  })
})

describe('after the last worker', () => {
  it('accepts requests, which wait for the next worker', async () => {
    const server = await holding()
    const first = startWorker(server.endpoint, 'first')
    await server.pool.firstReady
    const alone = await bytesOf(generate(server, seeded(7)))
    first.kill('SIGKILL')
    await once(first, 'exit')
    await until('the gateway knows', async () => (await health(server)).status === 'holding', 90_000)
    const waiting = bytesOf(generate(server, seeded(7)))
    await until('it is queued', async () => (await health(server)).requests.queued === 1)
    expect(await metric(server, 'easel_backlog_chip_seconds')).toBeGreaterThan(0)
    const late = await generate(server, { ...seeded(8), timeout: 0.1 })
    expect([late.status, await late.json()]).toMatchObject([504, { message: /no worker was connected$/ }])
    startWorker(server.endpoint, 'second')
    expect((await waiting).equals(alone)).toBe(true)
  })
})
