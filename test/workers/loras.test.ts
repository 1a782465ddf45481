import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { expect, it, onTestFinished } from 'vitest'
import { adapterSet } from '../../src/workers/adapter-sets.js'
import { canRun, mergeCapabilities } from '../../src/workers/capabilities.js'
import type { Hello, Lora } from '../../src/workers/protocol.js'
import { idleHeartbeat } from '../support/heartbeat.mjs'
import { checkedRecipe } from '../support/recipe-picture.js'
import { reconnect } from '../support/reconnect.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, metric, type RunningServer, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const lora = (name: string, letter: string): Lora => ({ name, digest: letter.repeat(64), kind: 'lora', rank: 4 })
const use = (name: string, letter: string) => ({ name, digest: letter.repeat(64), unet_weight: 1, text_weight: 1 })
const limits = { max_steps: 9, max_guidance_scale: 9, max_images: 9, max_loras: 2 }
const hello = (...loras: Lora[]) => ({ sizes: [[64, 64]], limits, features: ['loras'], loras }) as unknown as Hello

it('a worker gets only jobs whose LoRAs it has, by their files', () => {
  const worker = hello(lora('cute', 'a'), lora('ink', 'b'), lora('oil', 'c'))
  const runs = (...loras: ReturnType<typeof use>[]) => canRun(worker, { width: 64, height: 64, loras })
  expect(runs()).toBe(true)
  expect(runs(use('cute', 'a'), use('ink', 'b'))).toBe(true)
  expect(runs(use('cute', 'b'))).toBe(false)
  expect(runs(use('gone', 'a'))).toBe(false)
  expect(runs(use('cute', 'a'), use('ink', 'b'), use('oil', 'c'))).toBe(false)
  expect(canRun({ ...worker, features: [] }, { width: 64, height: 64, loras: [use('cute', 'a')] })).toBe(false)
})

it('several workers offer each name once, with the file of the one that came last', () => {
  const latest = hello(lora('b', 'b'))
  const { loras } = mergeCapabilities(latest, [hello(lora('b', 'a'), lora('a', 'a')), latest])
  expect(loras).toEqual([lora('a', 'a'), lora('b', 'b')])
})

const listed = async (server: RunningServer) =>
  ((await (await fetch(`${server.url}/loras`)).json()) as { loras: Lora[] }).loras

it('tells sets of LoRAs apart as the step scheduler does', () => {
  const [ink, cute] = [use('ink', 'b'), use('cute', 'a')]
  expect(adapterSet({ loras: [ink, cute] })).toBe(adapterSet({ loras: [cute, ink] }))
  expect(adapterSet({ loras: [{ ...ink, text_weight: 0 }] })).toBe(adapterSet({ loras: [ink] }))
  expect(adapterSet({ loras: [{ ...ink, unet_weight: 0 }] })).toBe(adapterSet({}))
  const different = [[ink], [cute], [ink, cute], [{ ...ink, unet_weight: 0.5 }], [use('ink', 'c')]]
  expect(new Set(different.map((loras) => adapterSet({ loras }))).size).toBe(different.length)
})

it('sends jobs to the worker whose weights have their LoRAs, and others to where they hold up nobody', async () => {
  const server = await startServer({ WORKER: 'connect' })
  const real = startWorker(server.endpoint, 'real')
  await server.pool.firstReady
  const base = server.pool.state.workers[0]!.hello
  const loras = [lora('cute', 'a'), lora('ink', 'b')]
  const capable = { ...base, features: ['loras'], limits: { ...base.limits, max_loras: 2 }, loras }
  const workers = ['first', 'second'].map((name) => new ScriptedWorker(server.endpoint, name, capable))
  for (const [place, worker] of workers.entries()) await reconnect(server, ['first', 'second'][place]!, worker)
  real.kill('SIGTERM')
  await until('only the scripted workers are left', () => server.pool.state.workers.length === 2)

  const answers: Promise<Response>[] = []
  /** Sends a request and returns which worker got it. */
  const placeOf = async (name?: string) => {
    const before = workers.map((worker) => worker.jobs.length)
    const body = { prompt: 'a fox', ...(name === undefined ? {} : { loras: [{ name }] }) }
    answers.push(generate(server, body))
    const place = () => workers.findIndex((worker, index) => worker.jobs.length > before[index]!)
    await until('a worker has the job', () => place() !== -1)
    return place()
  }
  const cute = await placeOf('cute')
  expect(await placeOf('ink')).toBe(1 - cute)
  expect([await placeOf('cute'), await placeOf('ink'), await placeOf('cute')]).toEqual([cute, 1 - cute, cute])
  expect(await placeOf()).toBe(1 - cute)
  for (const worker of workers) await worker.finish()
  for (const answer of answers) expect((await answer).status).toBe(200)
  // Both are idle: the merged weights are still where they were.
  expect([await placeOf('ink'), await placeOf('cute')]).toEqual([1 - cute, cute])
  for (const worker of workers) await worker.finish()
})

it('lists the LoRAs as they come and go, and sends a job to a worker that has its file', async () => {
  const server = await startServer({ WORKER: 'connect' })
  const real = startWorker(server.endpoint, 'real')
  await server.pool.firstReady
  const base = server.pool.state.workers[0]!.hello
  const first = { ...base, features: ['loras'], limits: { ...base.limits, max_loras: 2 }, loras: [lora('cute', 'a')] }
  const worker = new ScriptedWorker(server.endpoint, 'scripted', first)
  await reconnect(server, 'scripted', worker)
  real.kill('SIGTERM')
  await until('only the scripted worker is left', () => server.pool.state.workers.length === 1)
  expect(await listed(server)).toEqual([lora('cute', 'a')])

  const made = generate(server, { prompt: 'a fox', loras: [{ name: 'cute', weight: 0.5 }] })
  await until('the worker has the job', () => worker.jobs.length === 1)
  expect(worker.jobs[0]!.loras).toEqual([{ ...use('cute', 'a'), unet_weight: 0.5, text_weight: 0.5 }])
  await worker.finish()
  const recipe = JSON.parse((await made).headers.get('easel-recipe')!) as { loras: unknown }
  expect(recipe.loras).toEqual([{ ...use('cute', 'a'), unet_weight: 0.5, text_weight: 0.5 }])

  await worker.send('HEARTBEAT', { ...idleHeartbeat(worker.session!), loras: [lora('cute', 'b'), lora('ink', 'c')] })
  await until('the new file is listed', async () => (await listed(server)).length === 2)
  const again = await generate(server, { prompt: 'a fox', loras: recipe.loras })
  expect(await again.json()).toMatchObject({ code: 'UNSUPPORTED_LORA', field: 'loras' })
})

it('counts the sets of LoRAs that a worker has, what they took and the images that wait for them', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-loras-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const plain = await startReadyServer({})
  for (const name of ['easel_lora_sets', 'easel_lora_merges_total'])
    expect(await (await fetch(`${plain.url}/metrics`)).text()).not.toMatch(new RegExp(`^${name}{`, 'm'))

  for (const name of ['cute', 'ink']) await writeFile(join(folder, `${name}.safetensors`), name)
  const server = await startReadyServer({ WORKER_ARGS: `--loras ${folder} --fake-merge-ms 400` })
  const made = ['cute', 'ink'].map((name) =>
    generate(server, { prompt: 'x', loras: [{ name }], num_inference_steps: 2 })
  )
  await until('an image waits', async () => (await metric(server, 'easel_lora_images_preparing')) === 1)
  for (const answer of made) expect((await answer).status).toBe(200)
  await until('both are counted', async () => (await metric(server, 'easel_lora_merges_total')) === 2)
  expect(await metric(server, 'easel_lora_sets')).toBe(2)
  expect(await metric(server, 'easel_lora_merge_seconds_total')).toBeCloseTo(0.8)
  await until('none waits', async () => (await metric(server, 'easel_lora_images_preparing')) === 0)
})

it('paints with the LoRAs of a real worker, whose folder changes, by field, tag, /v1 and recipe', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-loras-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'cute.safetensors'), 'one')
  const server = await startServer({ WORKER_ARGS: `--loras ${folder}` })
  await server.pool.firstReady
  const [cute] = await listed(server)
  expect(cute).toMatchObject({ name: 'cute', kind: 'lora' })
  const request = { prompt: 'a fox', seed: 3, num_inference_steps: 2, width: 64, height: 64 }
  const bytesOf = async (body: object) => {
    const response = await generate(server, body)
    expect(response.status).toBe(200)
    return Buffer.from(await response.arrayBuffer())
  }
  const plain = await bytesOf(request)
  const loras = [{ name: 'cute', weight: 0.5 }]
  const use = { name: 'cute', digest: cute!.digest, unet_weight: 0.5, text_weight: 0.5 }
  const answer = await generate(server, { ...request, loras })
  const painted = Buffer.from(await answer.clone().arrayBuffer())
  expect(await checkedRecipe(answer, {})).toMatchObject({ loras: [use] })
  expect(painted.equals(plain)).toBe(false)
  const tagged = await bytesOf({ ...request, prompt: 'a fox<lora:cute:0.5>', prompt_syntax: 'a1111' })
  const pixelsOf = (file: Buffer) => sharp(file).raw().toBuffer()
  expect(await pixelsOf(tagged)).toEqual(await pixelsOf(painted))
  const v1 = await fetch(`${server.url}/v1/images/generations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...request, width: undefined, height: undefined, size: '64x64', loras })
  })
  const { data } = (await v1.json()) as { data: { b64_json: string }[] }
  expect(Buffer.from(data[0]!.b64_json, 'base64').equals(painted)).toBe(true)

  for (const file of [painted, tagged]) {
    const response = await fetch(`${server.url}/recipe`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: new Uint8Array(file)
    })
    const { request: again } = (await response.json()) as { request: object }
    expect(again).toMatchObject({ loras: [use] })
    expect((await bytesOf(again)).equals(file)).toBe(true)
  }

  await writeFile(join(folder, 'ink.safetensors'), 'two')
  await until('the new file is listed', async () => (await listed(server)).length === 2)
  await bytesOf({ ...request, loras: [{ name: 'ink' }, { name: 'cute' }] })
})

it('makes other images while a worker merges LoRAs', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-loras-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'cute.safetensors'), 'one')
  const never = 3_600_000
  const server = await startServer({ WORKER_ARGS: `--loras ${folder} --fake-merge-ms ${never}` })
  await server.pool.firstReady
  const leaving = new AbortController()
  const request = { prompt: 'a fox', num_inference_steps: 2, width: 64, height: 64 }
  const merging = generate(server, { ...request, loras: [{ name: 'cute' }] }, { signal: leaving.signal })
  await until('the worker has the request with the LoRA', () => server.pool.defaultModel.running === 1)
  for (let count = 0; count < 3; count += 1) expect((await generate(server, request)).status).toBe(200)
  leaving.abort()
  await expect(merging).rejects.toThrow('aborted')
  await until('its request has ended', () => server.pool.defaultModel.running === 0)
})

it('refuses LoRAs for now while a worker still compiles the programs for them, by field and by tag', async () => {
  const server = await startServer({ WORKER: 'connect' })
  const real = startWorker(server.endpoint, 'real')
  await server.pool.firstReady
  const base = server.pool.state.workers[0]!.hello
  const worker = new ScriptedWorker(server.endpoint, 'scripted', {
    ...base,
    features: ['prompt_weights'],
    coming_features: ['loras'],
    limits: { ...base.limits, max_loras: 2 },
    loras: [lora('cute', 'a')]
  })
  await reconnect(server, 'scripted', worker)
  real.kill('SIGTERM')
  await until('only the scripted worker is left', () => server.pool.state.workers.length === 1)
  const requests = [
    { prompt: 'a fox', loras: [{ name: 'cute' }] },
    { prompt: 'a fox <lora:cute:1>', prompt_syntax: 'a1111' }
  ]
  for (const request of requests) {
    const refused = await generate(server, request)
    expect(refused.status).toBe(503)
    expect(refused.headers.has('retry-after')).toBe(true)
    expect(await refused.json()).toMatchObject({ code: 'NOT_READY' })
  }
  await worker.send('HEARTBEAT', {
    ...idleHeartbeat(worker.session!),
    features: ['prompt_weights', 'loras'],
    coming_features: []
  })
  await until('the worker has the feature', () => server.pool.state.workers[0]!.hello.features!.includes('loras'))
  const made = requests.map((request) => generate(server, request))
  await until('the worker has both jobs', () => worker.jobs.length === 2)
  await worker.finish()
  for (const answer of made) expect((await answer).status).toBe(200)
})

it('refuses LoRAs where the workers have none', async () => {
  const server = await startServer({})
  await server.pool.firstReady
  expect(await (await generate(server, { prompt: 'a fox', loras: [{ name: 'cute' }] })).json()).toMatchObject({
    code: 'UNSUPPORTED_FEATURE',
    message: 'loras must be left out: this server has no LoRAs; its operator sets LORAS'
  })
  expect(await listed(server)).toEqual([])
})
