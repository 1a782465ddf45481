import { describe, expect, it } from 'vitest'
import { canRun, chanceOf, fieldInTheWay, mergeCapabilities } from '../../src/workers/capabilities.js'
import type { Job } from '../../src/workers/job.js'
import type { Hello, TokenIds } from '../../src/workers/protocol.js'
import { idleHeartbeat } from '../support/heartbeat.mjs'
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

describe('chanceOf', () => {
  const tokenizers = [{ digest: '', pad_id: 0, max_length: 77 }] as Hello['tokenizers']
  const plain = { ...old, tokenizers }
  const long = { ...plain, limits: { ...limits, max_chunks: 2 } }
  const weighing = { ...plain, features: ['prompt_weights'] }
  const tokens = (chunks: number) => ({ ids: Array.from({ length: chunks * 77 }, () => 1), ids_2: [1] })
  const ask = (more: object, chunks = 1) => ({ ...job, prompt: tokens(chunks), negative: null, ...more }) as Job
  const weighted = { prompt: { ...tokens(2), weights: tokens(2).ids } }

  it('is now if one worker can run the job, and never if several can only together', () => {
    expect(chanceOf([long, weighing], ask({}, 2))).toBe('now')
    expect(chanceOf([long, weighing], ask(weighted))).toBe('never')
    expect(chanceOf([{ ...long, features: ['prompt_weights'] }, plain], ask(weighted))).toBe('now')
  })

  it('is later if one worker can run the job when it has compiled all', () => {
    const coming = { coming_features: ['prompt_weights'], coming_max_chunks: 2 }
    expect(chanceOf([{ ...plain, ...coming }], ask(weighted))).toBe('later')
    expect(chanceOf([{ ...weighing, ...coming }, long], ask(weighted))).toBe('later')
    expect(chanceOf([{ ...weighing, coming: [[32, 32]] }], ask({ width: 32, height: 32 }))).toBe('later')
    expect(chanceOf([{ ...weighing, ...coming, coming_max_chunks: 1 }, long], ask(weighted))).toBe('never')
  })

  it('names the field in the way, if it is one', () => {
    expect(fieldInTheWay([long, weighing], ask(weighted))).toBe('prompt_syntax')
    expect(fieldInTheWay([long, { ...able, tokenizers }], ask({ guidance_end: 0.5 }, 2))).toBe('guidance_end')
    const wide = { ...weighing, sizes: [[32, 64]] as Hello['sizes'] }
    expect(fieldInTheWay([wide, long], ask({ width: 32 }, 2))).toBe('prompt')
    const others = [able, caching].map((hello) => ({ ...hello, tokenizers }))
    expect(fieldInTheWay([long, ...others], ask({ guidance_end: 0.5, cache_interval: 2 }, 2))).toBeUndefined()
  })
})

describe('a request that only several workers together can do', () => {
  it('is refused at once with its field, and with 503 while a worker still compiles the rest', async () => {
    const server = await startServer({ WORKER: 'connect' })
    const model = startWorker(server.endpoint, 'model')
    await server.pool.firstReady
    const hello = server.pool.state.workers[0]!.hello
    const one = { ...hello.limits, max_chunks: 1 }
    const weighing = new ScriptedWorker(server.endpoint, 'weighing', {
      ...hello,
      features: ['prompt_weights'],
      limits: one
    })
    const long = new ScriptedWorker(server.endpoint, 'long', {
      ...hello,
      features: [],
      limits: { ...one, max_chunks: 2 }
    })
    model.kill('SIGTERM')
    await until('no other worker is registered', () => server.pool.state.workers.length === 0)
    await reconnect(server, 'weighing', weighing)
    await reconnect(server, 'long', long)
    const ask = (prompt: string) =>
      generate(server, { prompt, prompt_syntax: 'a1111', width: 64, height: 64, guidance_scale: 0 })
    const refused = await ask('a BREAK (fox:1.2)')
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      field: 'prompt_syntax',
      message: expect.stringMatching(/^prompt_syntax cannot be combined with the rest of this request/) as string
    })
    // Each part alone goes to the worker that has it.
    const parts = [ask('a (fox:1.2)'), ask('a BREAK fox')]
    await until('each has a job', () => weighing.jobs.length === 1 && long.jobs.length === 1)

    await long.send('HEARTBEAT', { ...idleHeartbeat(long.session!), coming_features: ['prompt_weights'] })
    await until('weights are coming', async () => (await ask('a BREAK (fox:1.2)')).status === 503)
    expect((await ask('a BREAK (fox:1.2)')).headers.get('retry-after')).toBe('5')
    await long.send('HEARTBEAT', { ...idleHeartbeat(long.session!), features: ['prompt_weights'], coming_features: [] })
    await until('the gateway knows', () => server.pool.state.workers.every(({ hello }) => hello.features?.length === 1))
    const whole = ask('a BREAK (fox:1.2)')
    await until('the worker has the job', () => long.jobs.length === 2)
    await weighing.finish()
    await long.finish()
    for (const { status } of await Promise.all([...parts, whole])) expect(status).toBe(200)
  })

  it('is refused with hires as its field if no worker can make the second pass', async () => {
    const server = await startServer({ WORKER: 'connect' })
    const model = startWorker(server.endpoint, 'model')
    await server.pool.firstReady
    const hello = server.pool.state.workers[0]!.hello
    const [small, large]: Hello['sizes'] = [
      [64, 64],
      [128, 96]
    ]
    const starting = { ...hello, sizes: [small!], features: ['image_to_image'] }
    const wide = { ...hello, sizes: [small!, large!], features: [] }
    model.kill('SIGTERM')
    await until('no other worker is registered', () => server.pool.state.workers.length === 0)
    await reconnect(server, 'starting', new ScriptedWorker(server.endpoint, 'starting', starting))
    await reconnect(server, 'wide', new ScriptedWorker(server.endpoint, 'wide', wide))
    const request = { prompt: 'x', width: 64, height: 64, hires: { width: 128, height: 96 } }
    const refused = await generate(server, request)
    expect(await refused.json()).toMatchObject({
      code: 'UNSUPPORTED_FEATURE',
      field: 'hires',
      message: expect.stringMatching(/^hires cannot be combined with the rest of this request/) as string
    })
  })
})
