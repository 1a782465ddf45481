import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import type { Recipe } from '../../src/image/recipe.js'
import type { HealthResponse } from '../../src/schemas/health.js'
import { checkedRecipe } from '../support/recipe-picture.js'
import { generate, metric, type RunningServer, shareServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const folder = loadOptions([], {}).models[0]!.path

/** MODELS for two models whose pictures differ, in a file. */
async function twoModels(changes: { base?: object; turbo?: object } = {}): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rm(home, { recursive: true }))
  const file = join(home, 'models.json')
  await writeFile(file, JSON.stringify(entries(changes)))
  return file
}

const entries = ({ base, turbo }: { base?: object; turbo?: object } = {}) => [
  { name: 'base', path: folder, args: ['--fake-weights', 'base'], ...base },
  {
    name: 'org/turbo',
    path: folder,
    args: ['--sizes', '32x48', '--rows', '4'],
    env: { FAKE_WEIGHTS: 'turbo' },
    ...turbo
  }
]

const WEIGHTS: Record<string, string> = { base: 'base', 'org/turbo': 'turbo' }

async function allReady(server: RunningServer): Promise<void> {
  await Promise.all(server.pool.models.map(({ firstReady }) => firstReady))
}

const checked = (answer: Response) => checkedRecipe(answer, WEIGHTS)

async function healthOf(server: RunningServer): Promise<HealthResponse> {
  return (await (await fetch(`${server.url}/health`)).json()) as HealthResponse
}

describe('a server with two models', () => {
  let server: RunningServer
  shareServer((shared) => (server = shared), {
    MODELS: `base=${folder},org/turbo=${folder}`,
    // Both take the same arguments here; tests below give each its own.
    WORKER_ARGS: '--max-cache-interval 2'
  })

  it('lets requests choose by name, and makes the first without a name', async () => {
    await allReady(server)
    expect(server.pool.state.workers.map(({ name }) => name).sort()).toEqual(['base-0', 'org/turbo-0'])
    const models = await Promise.all(
      [{}, { model: 'base' }, { model: 'org/turbo' }].map(async (choice) => {
        const answer = await generate(server, { prompt: 'x', num_inference_steps: 2, ...choice })
        return (JSON.parse(answer.headers.get('easel-recipe')!) as Recipe).model
      })
    )
    expect(models).toEqual(['base', 'base', 'org/turbo'])
  })

  it('answers 404 for an unknown model, and names those it has', async () => {
    await allReady(server)
    const answer = await generate(server, { prompt: 'x', model: 'other' })
    expect(answer.status).toBe(404)
    expect(await answer.json()).toMatchObject({
      code: 'MODEL_NOT_FOUND',
      field: 'model',
      message: 'model "other" is not served here; use one of base, org/turbo'
    })
  })
})

it('each model has its own images, sizes, limits, health, metrics and recipes', async () => {
  const server = await startServer({ MODELS: await twoModels() })
  await allReady(server)
  const base = await checked(await generate(server, { prompt: 'x', seed: 1 }))
  const turbo = await checked(await generate(server, { prompt: 'x', seed: 1, model: 'org/turbo' }))
  expect(base).toMatchObject({ model: 'base', width: 64, height: 64 })
  expect(turbo).toMatchObject({ model: 'org/turbo', width: 32, height: 48 })
  expect(base.model_digest).not.toBe(turbo.model_digest)
  expect(
    await (await generate(server, { prompt: 'x', model: 'org/turbo', width: 64, height: 64 })).json()
  ).toMatchObject({
    code: 'UNSUPPORTED_SIZE',
    message: '64x64 is not offered; width x height must be one of 32x48'
  })

  const health = await healthOf(server)
  expect(health).toMatchObject({ status: 'ready', model: { id: 'base' }, workers: { expected: 2, ready: 2 } })
  expect(health.models).toMatchObject([
    { name: 'base', status: 'ready', model: { digest: base.model_digest }, workers: { ready: 1 } },
    { name: 'org/turbo', status: 'ready', model: { digest: turbo.model_digest }, sizes: [[32, 48]] }
  ])
  expect(health.workers.list).toMatchObject([
    { name: 'base-0', model: 'base', outdated: false },
    { name: 'org/turbo-0', model: 'org/turbo', rows: 4 }
  ])
  expect(await metric(server, 'easel_model_requests_total', 'model="base",outcome="succeeded"')).toBe(1)
  expect(await metric(server, 'easel_model_requests_total', 'model="org/turbo",outcome="succeeded"')).toBe(1)
  expect(await metric(server, 'easel_worker_info', `digest="${turbo.model_digest}"`)).toBe(1)

  // A recipe of the second model names it, so that the request reproduces the file.
  const file = await (await generate(server, { prompt: 'x', seed: 9, model: 'org/turbo' })).arrayBuffer()
  const read = await fetch(`${server.url}/recipe`, {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    body: file
  })
  const { request, same_model } = (await read.json()) as { request: { model: string }; same_model: boolean }
  expect({ model: request.model, same_model }).toEqual({ model: 'org/turbo', same_model: true })
  const again = await (await generate(server, request)).arrayBuffer()
  expect(Buffer.from(again).equals(Buffer.from(file))).toBe(true)
})

it('OpenAI clients choose by model, list all, and get 404 as from OpenAI', async () => {
  const server = await startServer({ MODELS: await twoModels() })
  await allReady(server)
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  const made = async (model: string) => {
    const { data, response } = await client.images
      .generate({ prompt: 'x', model, response_format: 'b64_json' })
      .withResponse()
    expect(data.data).toHaveLength(1)
    return (JSON.parse(response.headers.get('easel-recipe')!) as Recipe).model
  }
  expect(await made('org/turbo')).toBe('org/turbo')
  // Clients that know only OpenAI's names get the default model.
  for (const name of ['base', 'dall-e-3', 'gpt-image-1']) expect(await made(name)).toBe('base')
  await expect(made('sdxl-other')).rejects.toMatchObject({
    status: 404,
    code: 'model_not_found',
    param: 'model',
    type: 'invalid_request_error'
  })
  const listed = (await client.models.list()).data as (OpenAI.Model & { sizes: number[][]; defaults: object })[]
  expect(listed).toMatchObject([
    {
      id: 'base',
      sizes: [
        [64, 64],
        [32, 48]
      ],
      defaults: { num_inference_steps: 20 }
    },
    { id: 'org/turbo', sizes: [[32, 48]], defaults: { width: 32, height: 48 } }
  ])
  expect((await client.models.retrieve('org%2Fturbo').catch(() => client.models.retrieve('org/turbo'))).id).toBe(
    'org/turbo'
  )
  await expect(client.models.retrieve('sdxl-other')).rejects.toMatchObject({ status: 404, code: 'model_not_found' })
})

it('a full queue of one model refuses none of the other, whose requests wait for none of it', async () => {
  const slow = ['--fake-weights', 'base', '--fake-step-ms', '400', '--rows', '2']
  const server = await startServer({ MODELS: await twoModels({ base: { args: slow } }), QUEUE_LIMIT: '4' })
  await allReady(server)
  const long = Array.from({ length: 4 }, (_, seed) =>
    generate(server, { prompt: 'x', seed, num_inference_steps: 1000, timeout: 100 }).catch(() => undefined)
  )
  await until('the queue is full', async () => (await healthOf(server)).models[0]!.requests.in_flight === 4)
  expect(await (await generate(server, { prompt: 'x', num_inference_steps: 1 })).json()).toMatchObject({
    code: 'QUEUE_FULL'
  })
  const answer = await generate(
    server,
    { prompt: 'x', model: 'org/turbo', num_inference_steps: 4 },
    { headers: { accept: 'text/event-stream' } }
  )
  const events = await answer.text()
  expect(events).toContain('event: done')
  expect([...events.matchAll(/"position":(\d+)/g)].every(([, position]) => position === '0')).toBe(true)
  // The forecast of a model knows only its own steps and its own queue.
  const { models } = server.pool
  await until('both are measured', () => models.every((model) => model.secondsLeft('euler', 1) !== undefined))
  expect(models[0]!.secondsLeft('euler', 10)!).toBeGreaterThan(4 * models[1]!.secondsLeft('euler', 10)!)
  expect(models[1]!.backlogSeconds).toBe(0)
  await server.close(0)
  await Promise.all(long)
})

it('never gives a job to a worker of the other model, though workers of both are killed', async () => {
  const server = await startServer({
    MODELS: await twoModels({ base: { workers: 2 } }),
    WORKER_ARGS: '--fake-step-ms 20'
  })
  await until('all are ready', () => server.pool.state.workers.length === 3)
  const asked = Array.from({ length: 60 }, (_, index) => (index % 3 === 0 ? 'org/turbo' : 'base'))
  const answers = asked.map((model, seed) =>
    generate(server, { prompt: `p${seed}`, seed, model, num_inference_steps: 40 })
  )
  await until('all are accepted', () => server.service.ledger.accepted === asked.length)
  for (const name of ['base-0', 'org/turbo-0', 'base-1']) {
    const busy = () =>
      server.pool.state.workers.find((worker) => worker.name === name && (worker.heartbeat?.rows_in_use ?? 0) > 0)
    await until(`${name} runs`, () => busy() !== undefined)
    const victim = busy()!
    process.kill(victim.hello.pid, 'SIGKILL')
    await until(`${name} is lost`, () => !server.pool.state.workers.includes(victim))
  }
  let made = 0
  for (const [index, answer] of answers.entries()) {
    const response = await answer
    // Two deaths in a row while it ran: the promise is that it fails alone.
    if (response.status === 500) {
      expect(await response.json()).toMatchObject({ code: 'WORKER_CRASHED' })
      continue
    }
    expect(await checked(response)).toMatchObject({ model: asked[index], seed: index })
    made += 1
  }
  expect(made).toBeGreaterThan(50)
  expect(await metric(server, 'easel_replays_total')).toBeGreaterThan(0)
})

it('waits for a worker of its model while the other model serves', async () => {
  const server = await startServer({ WORKER: 'connect', MODELS: await twoModels() })
  startWorker(server.endpoint, 'any-name', { MODEL_NAME: 'org/turbo', FAKE_WEIGHTS: 'turbo' })
  await server.pool.models[1]!.firstReady
  const early = await generate(server, { prompt: 'x' })
  expect([early.status, await early.json()]).toMatchObject([
    503,
    { code: 'NOT_READY', message: 'no worker of the model base is ready' }
  ])
  await checked(await generate(server, { prompt: 'x', model: 'org/turbo' }))
  expect((await fetch(`${server.url}/health/startup`)).status).toBe(503)
  expect((await fetch(`${server.url}/health/ready`)).status).toBe(200)
  expect((await healthOf(server)).models).toMatchObject([{ status: 'starting', model: null }, { status: 'ready' }])

  const nameless = startWorker(server.endpoint, 'nameless')
  const status = await new Promise((resolve) => nameless.once('exit', resolve))
  expect(status).toBe(3)
  expect(server.logs.find(({ msg }) => msg.startsWith('worker nameless refused'))!.msg).toBe(
    'worker nameless refused: the worker has the model fake, which MODELS does not name; start it with --model-name base or org/turbo, or name it in MODELS'
  )
  startWorker(server.endpoint, 'another', { MODEL_NAME: 'base', FAKE_WEIGHTS: 'base' })
  await server.pool.models[0]!.firstReady
  await checked(await generate(server, { prompt: 'x' }))
  expect((await fetch(`${server.url}/health/startup`)).status).toBe(200)
})

it('a model that cannot start is reported although the other is ready', async () => {
  const server = await startServer({ MODELS: await twoModels({ turbo: { args: ['--rows', '0'] } }) })
  await expect(server.pool.models[1]!.firstReady).rejects.toThrow(
    /^worker org\/turbo-0 exited with status 2: .*--rows: must be 1 or more/
  )
  await server.pool.models[0]!.firstReady
  await checked(await generate(server, { prompt: 'x' }))
})
