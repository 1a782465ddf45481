import { expect, it } from 'vitest'
import { canRun, mergeCapabilities } from '../../src/workers/capabilities.js'
import type { Hello, TokenIds } from '../../src/workers/protocol.js'
import { reconnect } from '../support/reconnect.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const sizes: Hello['sizes'] = [[64, 64]]
const limits = { max_steps: 9, max_guidance_scale: 9, max_images: 9 }
const old = { sizes, limits } as Hello
const able = { sizes, limits, features: ['guidance_interval'] } as Hello
const caching = { sizes, limits: { ...limits, max_cache_interval: 3 } } as Hello
const job = { width: 64, height: 64, guidance_start: 0, guidance_end: 1, cache_interval: 1 }

it('a worker gets only jobs whose size, features and limits it supports', () => {
  for (const hello of [old, able, caching]) {
    expect(canRun(hello, job)).toBe(true)
    expect(canRun(hello, { ...job, width: 32 })).toBe(false)
    expect(canRun(hello, { ...job, guidance_end: 0.5 })).toBe(hello === able)
    expect(canRun(hello, { ...job, guidance_start: 0.5 })).toBe(hello === able)
    expect(canRun(hello, { ...job, cache_interval: 3 })).toBe(hello === caching)
    expect(canRun(hello, { ...job, cache_interval: 4 })).toBe(false)
  }
})

it('a worker gets only prompts that it can encode', () => {
  const tokenizers = [{ digest: '', pad_id: 0, max_length: 77 }] as Hello['tokenizers']
  const plain = { ...old, tokenizers }
  const long = { ...plain, limits: { ...limits, max_chunks: 2 } }
  const weighing = { ...plain, features: ['prompt_weights'] }
  const ids = (chunks: number) => Array.from({ length: chunks * 77 }, () => 1)
  const tokens = (chunks: number) => ({ ids: ids(chunks), ids_2: ids(chunks) })
  for (const hello of [plain, long, weighing]) {
    const runs = (prompt: TokenIds, negative: TokenIds | null = null) => canRun(hello, { ...job, prompt, negative })
    expect(runs(tokens(1))).toBe(true)
    expect(runs(tokens(2))).toBe(hello === long)
    expect(runs(tokens(3))).toBe(false)
    for (const list of ['weights', 'weights_2', 'pooled_ids_2'] as const) {
      expect(runs({ ...tokens(1), [list]: ids(1) })).toBe(hello === weighing)
      expect(runs(tokens(1), { ...tokens(1), [list]: ids(1) })).toBe(hello === weighing)
      expect(runs({ ...tokens(2), [list]: ids(2) })).toBe(false)
    }
  }
})

it('mergeCapabilities is the union of all features and optional limits', () => {
  const merged = (...all: [Hello, ...Hello[]]) => mergeCapabilities(all[0], all)
  expect(merged(old, able, able)).toMatchObject({ limits, features: ['guidance_interval'] })
  expect(merged(old)).toMatchObject({ limits, features: [] })
  expect(merged(old, caching)).toMatchObject({ limits: caching.limits })
  expect(merged(caching, old)).toMatchObject({ limits: caching.limits })
})

it('mergeCapabilities lists as coming what no worker has yet', () => {
  const merged = (...all: [Hello, ...Hello[]]) => mergeCapabilities(all[0], all)
  const early = { ...old, coming_features: ['prompt_weights'], coming_max_chunks: 3 } as Hello
  expect(merged(old)).toMatchObject({ comingFeatures: [], comingMaxChunks: 1 })
  expect(merged(old, early)).toMatchObject({ comingFeatures: ['prompt_weights'], comingMaxChunks: 3 })
  const weighing = { ...old, features: ['prompt_weights'], limits: { ...limits, max_chunks: 4 } } as Hello
  expect(merged(early, weighing)).toMatchObject({ comingFeatures: [], comingMaxChunks: 4 })
})

it('sends a guidance interval only to a worker that supports it, and keeps the old worker busy with other jobs', async () => {
  const server = await startServer({ WORKER: 'connect' })
  const model = startWorker(server.endpoint, 'model')
  await server.pool.firstReady
  const { features: _, ...hello } = server.pool.state.workers[0]!.hello
  const before = new ScriptedWorker(server.endpoint, 'old', hello)
  await before.hello()
  model.kill('SIGTERM')
  await until(
    'only the old worker is connected',
    () => server.pool.state.workers.map(({ name }) => name).join() === 'old'
  )
  await reconnect(server, 'old', before)
  const part = { prompt: 'x', guidance_end: 0.5 }
  expect(await (await generate(server, part)).json()).toMatchObject({
    code: 'UNSUPPORTED_FEATURE',
    field: 'guidance_end'
  })

  const after = new ScriptedWorker(server.endpoint, 'new', { ...hello, features: ['guidance_interval'] })
  await reconnect(server, 'new', after)
  const wanted = generate(server, part)
  await until('the new worker has the job', () => after.jobs.length === 1)
  expect(after.jobs[0]).toMatchObject({ guidance_end: 0.5 })
  expect(after.jobs[0]).not.toHaveProperty('guidance_start')

  // Roll the new worker back: a job that only it supported waits, and later jobs overtake it.
  after.jobs.length = 0
  await reconnect(server, 'new', after, { features: [] })
  const whole = generate(server, { prompt: 'x' })
  await until('one worker has the other job', () => before.jobs.length + after.jobs.length === 1)
  expect([...before.jobs, ...after.jobs][0]).not.toHaveProperty('guidance_end')
  await before.finish()
  await after.finish()
  expect((await whole).status).toBe(200)

  await after.hello()
  await until('the new worker has the job again', () => after.jobs.length === 1)
  await after.finish()
  expect((await wanted).status).toBe(200)
})
