import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import type { HealthResponse } from '../../src/schemas/health.js'
import { checkedRecipe } from '../support/recipe-picture.js'
import { generate, metric, type RunningServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'

const { path } = loadOptions([], {}).models[0]!

/** A server with two models that take turns on one device. */
async function sharing(env: NodeJS.ProcessEnv, turboArgs: readonly string[] = []): Promise<RunningServer> {
  const home = await mkdtemp(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rm(home, { recursive: true }))
  const file = join(home, 'models.json')
  const models = [
    { name: 'base', path, device: 'chip', args: ['--fake-weights', 'base'] },
    { name: 'turbo', path, device: 'chip', args: ['--fake-weights', 'turbo', ...turboArgs] }
  ]
  await writeFile(file, JSON.stringify(models))
  return startServer({ MODELS: file, ...env })
}

/** Both have been loaded once, and the first is loaded again. */
async function bothLearned(server: RunningServer): Promise<void> {
  await Promise.all(server.pool.models.map(({ firstReady }) => firstReady))
  await until('the first is loaded', async () => (await modelsOf(server))[0]!.workers.ready === 1)
}

async function modelsOf(server: RunningServer): Promise<HealthResponse['models']> {
  return ((await (await fetch(`${server.url}/health`)).json()) as HealthResponse).models
}

/** The model that made the picture of an answer. */
async function modelOf(answer: Promise<Response>): Promise<string> {
  return (await checkedRecipe(await answer, { base: 'base', turbo: 'turbo' })).model
}

/** Watches that never two worker processes run at once. */
function watchProcesses(server: RunningServer): { most: () => number } {
  let most = 0
  const timer = setInterval(() => (most = Math.max(most, server.pool.workerPids.length)), 5)
  onTestFinished(() => clearInterval(timer))
  return { most: () => most }
}

it('loads each model once at the start, the default one last, and says what a swap costs', async () => {
  const server = await sharing({})
  const processes = watchProcesses(server)
  await bothLearned(server)
  const models = await modelsOf(server)
  expect(models).toMatchObject([
    { name: 'base', status: 'ready', loaded: true, workers: { ready: 1 } },
    { name: 'turbo', status: 'ready', loaded: false, workers: { ready: 0 } }
  ])
  for (const { swap_seconds } of models) expect(swap_seconds).toBeGreaterThan(0)
  expect((await fetch(`${server.url}/health/startup`)).status).toBe(200)
  expect(await metric(server, 'easel_workers_expected')).toBe(1)

  expect(await modelOf(generate(server, { prompt: 'x', model: 'turbo', num_inference_steps: 2 }))).toBe('turbo')
  expect(await modelsOf(server)).toMatchObject([{ loaded: false }, { loaded: true }])
  expect(await modelOf(generate(server, { prompt: 'x', num_inference_steps: 2 }))).toBe('base')
  expect(await metric(server, 'easel_model_swaps_total', 'model="turbo"')).toBe(2)
  expect(processes.most()).toBe(1)
})

it('lets running images finish, then swaps although more wait, and swaps back for those', async () => {
  const server = await sharing({ SWAP_WAIT: '0.5', WORKER_ARGS: '--fake-step-ms 10 --rows 2' })
  await bothLearned(server)
  // One guided image fills the rows, and as many again wait at the worker.
  const before = Array.from({ length: 6 }, (_, seed) =>
    generate(server, { prompt: 'x', seed, num_inference_steps: 100 })
  )
  await until('base runs', () => server.pool.models[0]!.running > 0)
  const turbo = generate(server, { prompt: 'x', model: 'turbo', num_inference_steps: 2 })
  const swaps = () => server.logs.filter(({ msg }) => msg === 'swapping base for turbo on chip').length
  await until('the swap begins', () => swaps() > 0)
  expect(server.pool.models[0]!.queued).toBeGreaterThan(0)
  // Neither model has a worker now; both accept requests.
  const during = ['turbo', 'base'].map((model) => generate(server, { prompt: 'y', model, num_inference_steps: 2 }))
  expect(await modelOf(turbo)).toBe('turbo')
  expect(await Promise.all(during.map(modelOf))).toEqual(['turbo', 'base'])
  for (const answer of before) expect(await modelOf(answer)).toBe('base')
  expect(await metric(server, 'easel_replays_total')).toBe(0)
  // Only workers that were told to leave have left.
  const lost = await metric(server, 'easel_workers_lost_total')
  expect(lost).toBeGreaterThan(0)
  expect(await metric(server, 'easel_workers_lost_total', 'cause="left"')).toBe(lost)
})

it('answers any mix of requests with the right model, one worker at a time, without a replay', async () => {
  const server = await sharing({ SWAP_WAIT: '0.1', HEARTBEAT_INTERVAL: '0.05', HEARTBEAT_TIMEOUT: '5' })
  const processes = watchProcesses(server)
  await bothLearned(server)
  const asked = Array.from({ length: 24 }, (_, index) => ((index * 7) % 5 < 2 ? 'turbo' : 'base'))
  // Requests are accepted at any moment, also while a model is being loaded.
  const answers = asked.map((model, seed) =>
    generate(server, { prompt: `p${seed}`, seed, model, num_inference_steps: 5 + (seed % 20) })
  )
  for (const [index, answer] of answers.entries()) expect(await modelOf(answer)).toBe(asked[index])
  expect(processes.most()).toBe(1)
  expect(await metric(server, 'easel_replays_total')).toBe(0)
})

it('serves the other model while one cannot be loaded', async () => {
  const server = await sharing({}, ['--fake-faults', 'oom:warm'])
  await server.pool.models[0]!.firstReady
  expect(await modelOf(generate(server, { prompt: 'x', num_inference_steps: 2 }))).toBe('base')
  const refused = await generate(server, { prompt: 'x', model: 'turbo' })
  expect(await refused.json()).toMatchObject({ code: 'NOT_READY', message: 'no worker of the model turbo is ready' })
  expect(await modelsOf(server)).toMatchObject([{ loaded: true }, { status: 'starting', loaded: false }])
})

it('refuses a request whose deadline a swap would miss, and ends one that waits for a swap when the server drains', async () => {
  const server = await sharing({ SWAP_WAIT: '60', WORKER_ARGS: '--fake-step-ms 20' })
  await bothLearned(server)
  const long = generate(server, { prompt: 'x', num_inference_steps: 900 })
  await until('base runs', () => server.pool.models[0]!.running > 0)
  await until('it is measured', () => server.pool.models[0]!.secondsLeft('euler', 1) !== undefined)
  server.pool.models[1]!.stepTook(0.02)
  const hasty = await generate(server, { prompt: 'x', model: 'turbo', num_inference_steps: 1, timeout: 0.2 })
  expect(await hasty.json()).toMatchObject({ code: 'DEADLINE_UNREACHABLE' })
  // Its forecast: until the other has kept the device for SWAP_WAIT or is done, the swap, and the image itself.
  const [base, turbo] = server.pool.models
  const job = {
    prompt: { ids: [1], ids_2: [1] },
    negative: null,
    seeds: [1],
    steps: 10,
    guidance: 1,
    scheduler: 'euler'
  }
  const forecast = turbo!.secondsFor(
    { ...job, width: 64, height: 64 },
    { key: '', weight: 1, priority: 'interactive' }
  )!
  expect(forecast).toBeGreaterThan(turbo!.swapSeconds! + base!.backlogSeconds! * 0.9)
  expect(forecast).toBeLessThan(turbo!.swapSeconds! + 60)
  const waits = generate(server, { prompt: 'x', model: 'turbo', num_inference_steps: 1 })
  await until('it waits', () => server.pool.models[1]!.queued === 1)
  server.pool.drain(0)
  expect(await (await waits).json()).toMatchObject({ code: 'DRAINING' })
  await (await long).arrayBuffer()
})
