import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { JobDocument } from '../../src/schemas/job.js'
import { outcomes, stepsOf } from '../support/handover.js'
import { generate, openServer, startServer } from '../support/server.js'
import { startValkey } from '../support/valkey.mjs'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const STEPS = 100
const TEN_MINUTES = 600_000

it(
  'a job of the demo model goes on at another gateway, with the bytes of the undisturbed image',
  async () => {
    const cache = await mkdtemp(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rm(cache, { recursive: true, force: true }))
    const valkey = await startValkey()
    onTestFinished(() => valkey.stop())
    const settings = { WORKER: 'connect', JOB_STORE: valkey.url }
    const start = (endpoint: string) =>
      startWorker(
        endpoint,
        'worker',
        { DRAIN_GRACE: '0.3', COMPILE_CACHE: cache, IMAGE_INPUTS: 'false', MAX_PROMPT_CHUNKS: '1' },
        ['--engine', 'sdxl', '--rows', '2']
      )
    const { server: leaving, stop } = await openServer(settings)
    const worker = start(leaving.endpoint)
    await until('the worker is there', () => leaving.pool.ready, TEN_MINUTES)
    // A sampler that looks back and draws noise at each step.
    const body = { prompt: 'a red circle', seed: 3, num_inference_steps: STEPS, scheduler: 'dpmpp_2m_sde' }
    const init = { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
    expect((await fetch(`${leaving.url}/jobs/a`, init)).status).toBe(202)
    await until('some steps are done', () => stepsOf(leaving, 'worker') > 10, TEN_MINUTES)
    worker.kill('SIGTERM')
    await leaving.close(10_000)
    await stop()
    const line = leaving.logs.find(({ msg }) => msg.includes('that go on at another gateway'))!
    const { 0: step } = line['steps'] as Record<string, number>

    const server = await startServer(settings)
    start(server.endpoint)
    let job: JobDocument | undefined
    await until(
      'the job has ended',
      async () => {
        job = (await (await fetch(`${server.url}/jobs/a`)).json()) as JobDocument
        return job.ended_at !== null
      },
      TEN_MINUTES
    )
    expect(job).toMatchObject({ status: 'succeeded', crashes: 0 })
    await until('the steps are counted', () => stepsOf(server, 'worker') >= STEPS - step!)
    expect(stepsOf(server, 'worker')).toBe(STEPS - step!)
    expect(await outcomes(server)).toEqual({ continued: 1 })
    const moved = await fetch(server.url + job!.result!.images[0]!.url)
    const alone = await generate(server, body)
    expect(Buffer.from(await moved.arrayBuffer()).equals(Buffer.from(await alone.arrayBuffer()))).toBe(true)
  },
  TEN_MINUTES
)
