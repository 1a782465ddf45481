import { describe, expect, it } from 'vitest'
import type { Heartbeat, Hello } from '../../src/workers/protocol.js'
import { mergeCapabilities } from '../../src/workers/capabilities.js'
import { withHeartbeat } from '../../src/workers/sizes.js'
import { reconnect } from '../support/reconnect.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, startServer, type RunningServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const SMALL: Hello['sizes'] = [[64, 64]]
const WIDE: Hello['sizes'] = [[128, 64]]
const BOTH = [...SMALL, ...WIDE]

/** A server whose only worker has the small size and is compiling the wide one. */
async function serverOfOne(): Promise<{ server: RunningServer; worker: ScriptedWorker }> {
  const server = await startServer({ WORKER: 'connect' })
  const model = startWorker(server.endpoint, 'model')
  await server.pool.firstReady
  const worker = new ScriptedWorker(server.endpoint, 'young', server.pool.state.workers[0]!.hello)
  model.kill('SIGTERM')
  await until('no other worker is registered', () => server.pool.state.workers.length === 0)
  await reconnect(server, 'young', worker, { sizes: SMALL, coming: WIDE })
  return { server, worker }
}

function says(worker: ScriptedWorker, sizes: Hello['sizes'], more: Partial<Heartbeat> = {}): Promise<void> {
  return worker.send('HEARTBEAT', {
    session: worker.session,
    steps_total: 0,
    rows_in_use: 0,
    rows_padded_total: 0,
    queued: 0,
    step_ms: [],
    memory: [],
    sizes,
    ...more
  })
}

const image = (server: RunningServer, width: number) =>
  generate(server, { prompt: 'x', width, height: 64, guidance_scale: 0 })
const widths = (worker: ScriptedWorker) => worker.jobs.map(({ width }) => width)

it('refuses a size that is still being compiled with 503 until the worker reports it', async () => {
  const { server, worker } = await serverOfOne()
  const refused = await image(server, 128)
  expect(refused.status).toBe(503)
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(await refused.json()).toMatchObject({
    code: 'NOT_READY',
    message: '128x64 is still being compiled; retry later, or use one of 64x64'
  })
  expect((await image(server, 256)).status).toBe(400)

  const features = [...(server.pool.state.workers[0]!.hello.features ?? []), 'more']
  await says(worker, BOTH, { features })
  await until('the gateway knows both sizes', () => server.pool.defaultModel.capabilities?.sizes.length === 2)
  expect(server.logs.map(({ msg }) => msg)).toContain('worker young now offers 128x64, more')
  const wanted = image(server, 128)
  await until('the worker has the job', () => worker.jobs.length === 1)
  await worker.finish()
  expect((await wanted).status).toBe(200)
})

it('refuses weighted and long prompts until the worker reports that it has compiled for them', async () => {
  const { server, worker } = await serverOfOne()
  const { limits } = server.pool.state.workers[0]!.hello
  await reconnect(server, 'young', worker, { sizes: SMALL, features: [], limits: { ...limits, max_chunks: 1 } })
  const ask = (prompt: string) =>
    generate(server, { prompt, prompt_syntax: 'a1111', width: 64, height: 64, guidance_scale: 0 })
  expect(await (await ask('a (fox:1.2)')).json()).toMatchObject({ code: 'UNSUPPORTED_FEATURE' })
  expect(await (await ask('a BREAK fox')).json()).toMatchObject({ code: 'PROMPT_TOO_LONG' })
  await says(worker, SMALL, { features: ['prompt_weights'], max_chunks: 2 })
  await until('the gateway knows', () => server.pool.defaultModel.capabilities?.limits.max_chunks === 2)
  const wanted = ask('a BREAK (fox:1.2)')
  await until('the worker has the job', () => worker.jobs.length === 1)
  expect(worker.jobs[0]).toMatchObject({ weighting: 'a1111' })
  expect(worker.jobs[0]!.prompt.ids).toHaveLength(154)
  await worker.finish()
  expect((await wanted).status).toBe(200)
})

describe('weighted and long prompts that are coming', () => {
  async function serverWithComing(): Promise<{ server: RunningServer; worker: ScriptedWorker }> {
    const { server, worker } = await serverOfOne()
    const { limits } = server.pool.state.workers[0]!.hello
    await reconnect(server, 'young', worker, {
      sizes: SMALL,
      features: [],
      limits: { ...limits, max_chunks: 1 },
      coming_features: ['prompt_weights'],
      coming_max_chunks: 2
    })
    return { server, worker }
  }
  const generated = (server: RunningServer, prompt: string) =>
    generate(server, { prompt, prompt_syntax: 'a1111', width: 64, height: 64, guidance_scale: 0 })
  const post = (server: RunningServer, path: string, body: object) =>
    fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt_syntax: 'a1111', ...body })
    })

  it('are refused with 503 under both APIs until the worker reports them', async () => {
    const { server, worker } = await serverWithComing()
    const asked = async (prompt: string) => {
      const answers = [
        await generated(server, prompt),
        await post(server, '/v1/images/generations', { prompt, size: '64x64' })
      ]
      for (const { status, headers } of answers) {
        expect(status).toBe(503)
        expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
      }
      const [own, openai] = await Promise.all(answers.map((answer) => answer.json() as Promise<any>))
      expect(own.code).toBe('NOT_READY')
      expect(openai.error).toMatchObject({ code: 'NOT_READY', param: own.field, message: own.message })
      return own as object
    }
    expect(await asked('a (fox:1.2)')).toMatchObject({ field: 'prompt_syntax' })
    expect(await asked('a BREAK fox')).toMatchObject({ field: 'prompt' })
    expect((await generated(server, 'a BREAK b BREAK c')).status).toBe(400)
    await says(worker, SMALL, {
      features: ['prompt_weights'],
      max_chunks: 2,
      coming: [],
      coming_features: [],
      coming_max_chunks: 2
    })
    await until('the gateway knows', () => server.pool.defaultModel.capabilities?.limits.max_chunks === 2)
    const wanted = generated(server, 'a BREAK (fox:1.2)')
    await until('the worker has the job', () => worker.jobs.length === 1)
    await worker.finish()
    expect((await wanted).status).toBe(200)
  })

  it('are counted by /tokenize and listed in /health as what will be possible', async () => {
    const { server, worker } = await serverWithComing()
    const counted = async () => {
      const answer = await post(server, '/tokenize', { prompt: 'a BREAK b BREAK c' })
      return ((await answer.json()) as { prompt: object }).prompt
    }
    const health = async () => (await (await fetch(`${server.url}/health`)).json()) as object
    expect(await counted()).toMatchObject({ chunks: 3, max_tokens: 75, coming_max_tokens: 150, cut_at: 16 })
    expect(await health()).toMatchObject({
      features: [],
      coming_features: ['prompt_weights'],
      max_chunks: 1,
      coming_max_chunks: 2
    })
    await says(worker, SMALL, { max_chunks: 2 })
    await until('the gateway knows', () => server.pool.defaultModel.capabilities?.limits.max_chunks === 2)
    expect(await counted()).toMatchObject({ max_tokens: 150, cut_at: 16 })
    expect(await counted()).not.toHaveProperty('coming_max_tokens')
  })

  it('and sizes are refused for good once the worker gives them up', async () => {
    const { server, worker } = await serverOfOne()
    const { limits } = server.pool.state.workers[0]!.hello
    const nothing = { features: [], limits: { ...limits, max_chunks: 1 } }
    const coming = { coming: WIDE, coming_features: ['prompt_weights'], coming_max_chunks: 2 }
    await reconnect(server, 'young', worker, { sizes: SMALL, ...nothing, ...coming })
    expect((await image(server, 128)).status).toBe(503)
    await says(worker, SMALL, { coming: [], coming_features: [], coming_max_chunks: 1 })
    await until('nothing is coming', () => server.pool.defaultModel.capabilities?.compiling.length === 0)
    const codes = [
      await image(server, 128),
      await generated(server, 'a (fox:1.2)'),
      await generated(server, 'a BREAK b')
    ].map(async (answer) => ((await answer.json()) as { code: string }).code)
    expect(await Promise.all(codes)).toEqual(['UNSUPPORTED_SIZE', 'UNSUPPORTED_FEATURE', 'PROMPT_TOO_LONG'])
  })
})

it('/health lists sizes as coming until they are compiled', async () => {
  const { server, worker } = await serverOfOne()
  const health = async () => (await (await fetch(`${server.url}/health`)).json()) as object
  expect(await health()).toMatchObject({ status: 'ready', sizes: SMALL, coming: WIDE })
  await says(worker, BOTH)
  await until('the gateway knows both sizes', () => server.pool.defaultModel.capabilities?.sizes.length === 2)
  expect(await health()).toMatchObject({ sizes: BOTH, coming: [] })
})

it('a job waits while a restarted worker compiles its size, and later jobs of other sizes overtake it', async () => {
  const { server, worker } = await serverOfOne()
  await says(worker, BOTH)
  await until('the gateway knows both sizes', () => server.pool.defaultModel.capabilities?.sizes.length === 2)
  const wide = image(server, 128)
  await until('the worker has the first job', () => worker.jobs.length === 1)
  const small = image(server, 64)
  await until('the worker has both jobs', () => worker.jobs.length === 2)

  worker.jobs.length = 0
  await reconnect(server, 'young', worker, { sizes: SMALL, coming: WIDE })
  await until('the worker has the job that it can run', () => worker.jobs.length > 0)
  expect(widths(worker)).toEqual([64])
  await worker.finish()
  expect((await small).status).toBe(200)

  await says(worker, BOTH)
  await until('the worker has the other job', () => worker.jobs.length > 0)
  expect(widths(worker)).toEqual([128])
  await worker.finish()
  expect((await wide).status).toBe(200)
})

const hello = (sizes: Hello['sizes'], coming?: Hello['sizes']) =>
  ({ sizes, limits: {}, ...(coming && { coming }) }) as Hello

describe('withHeartbeat', () => {
  const heartbeat = (grown: Partial<Heartbeat>) => grown as Heartbeat

  it('removes compiled sizes from coming', () => {
    expect(withHeartbeat(hello(SMALL, WIDE), heartbeat({ sizes: BOTH }))).toMatchObject(hello(BOTH, []))
  })

  it('takes features and chunks that are compiled later', () => {
    const grown = withHeartbeat(hello(SMALL), heartbeat({ features: ['prompt_weights'], max_chunks: 3 }))
    expect(grown).toMatchObject({ sizes: SMALL, features: ['prompt_weights'], limits: { max_chunks: 3 } })
    expect(withHeartbeat(grown!, heartbeat({ features: ['prompt_weights'], max_chunks: 3 }))).toBeUndefined()
  })

  it('takes what is still coming, or removes from it what is compiled', () => {
    const early = { ...hello(SMALL, WIDE), coming_features: ['prompt_weights'], coming_max_chunks: 2 } as Hello
    expect(withHeartbeat(early, heartbeat({ coming: [] }))).toMatchObject({ sizes: SMALL, coming: [] })
    expect(withHeartbeat(early, heartbeat({ coming_max_chunks: 1 }))).toMatchObject({ coming_max_chunks: 1 })
    expect(withHeartbeat(early, heartbeat({ features: ['prompt_weights'] }))).toMatchObject({ coming_features: [] })
  })

  it('is undefined for nothing new', () => {
    expect(withHeartbeat(hello(SMALL), heartbeat({}))).toBeUndefined()
    expect(withHeartbeat(hello(SMALL), heartbeat({ sizes: SMALL, features: [], max_chunks: 1 }))).toBeUndefined()
  })
})

it('mergeCapabilities offers the union of all sizes', () => {
  const merged = (...all: [Hello, ...Hello[]]) => mergeCapabilities(all[0], all)
  expect(merged(hello(SMALL, WIDE), hello(BOTH))).toMatchObject({ sizes: BOTH, compiling: [] })
  expect(merged(hello(SMALL, WIDE))).toMatchObject({ sizes: SMALL, compiling: WIDE })
})
