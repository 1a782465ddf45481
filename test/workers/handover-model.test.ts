import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { generate, metric, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const STEPS = 100
const TEN_MINUTES = 600_000

it(
  'an image of the demo model goes on at another worker, with the bytes of the undisturbed image',
  async () => {
    const cache = await mkdtemp(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rm(cache, { recursive: true, force: true }))
    const server = await startServer({ WORKER: 'connect' })
    const start = (name: string) =>
      startWorker(
        server.endpoint,
        name,
        { DRAIN_GRACE: '0.3', COMPILE_CACHE: cache, IMAGE_INPUTS: 'false', MAX_PROMPT_CHUNKS: '1' },
        ['--engine', 'sdxl', '--rows', '2']
      )
    const stepsOf = (name: string) =>
      server.pool.state.workers.find((worker) => worker.name === name)?.heartbeat?.steps_total ?? 0
    const first = start('first')
    await until('the first worker is there', () => server.pool.state.workers.length === 1, TEN_MINUTES)
    start('second')
    await until('the second worker is there', () => server.pool.state.workers.length === 2, TEN_MINUTES)
    const [one, other] = server.pool.state.workers.map(({ hello }) => hello.state_kind)
    expect(one).toMatch(/^[0-9a-f]{64}$/)
    expect(other).toBe(one)
    // A sampler that looks back and draws noise at each step.
    const body = { prompt: 'a red circle', seed: 3, num_inference_steps: STEPS, scheduler: 'dpmpp_2m_sde' }
    const answer = generate(server, body)
    await until('some steps are done', () => stepsOf('first') > 10, TEN_MINUTES)
    first.kill('SIGTERM')
    const moved = await answer
    expect(moved.status).toBe(200)
    expect(await metric(server, 'easel_handovers_total', 'outcome="continued"')).toBe(1)
    const line = server.logs.find(({ msg }) => msg.includes('that go on elsewhere'))!
    const { 0: step } = line['steps'] as Record<string, number>
    await until('the steps are counted', () => stepsOf('second') >= STEPS - step!)
    expect(stepsOf('second')).toBe(STEPS - step!)
    const alone = await generate(server, body)
    expect(Buffer.from(await moved.arrayBuffer()).equals(Buffer.from(await alone.arrayBuffer()))).toBe(true)
  },
  TEN_MINUTES
)
