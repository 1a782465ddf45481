import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { canRun, mergeCapabilities } from '../../src/workers/capabilities.js'
import { withHeartbeat } from '../../src/workers/sizes.js'
import type { Embedding, Heartbeat, Hello } from '../../src/workers/protocol.js'
import { idleHeartbeat } from '../support/heartbeat.mjs'
import { generate, type RunningServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'

const embedding = (name: string, letter: string): Embedding => ({ name, digest: letter.repeat(64), vectors: 2 })
const use = (name: string, letter: string) => ({ name, digest: letter.repeat(64), first_id: 49_408 })
const limits = { max_steps: 9, max_guidance_scale: 9, max_images: 9 }
const hello = (...embeddings: Embedding[]) =>
  ({ sizes: [[64, 64]], limits, features: ['embeddings'], embeddings }) as unknown as Hello

it('a worker gets only jobs whose embeddings it has, by their files', () => {
  const worker = hello(embedding('ink', 'a'))
  const runs = (...embeddings: ReturnType<typeof use>[]) => canRun(worker, { width: 64, height: 64, embeddings })
  expect(runs()).toBe(true)
  expect(runs(use('ink', 'a'))).toBe(true)
  expect(runs(use('ink', 'b'))).toBe(false)
  expect(runs(use('ink', 'a'), use('gone', 'a'))).toBe(false)
  expect(canRun({ ...worker, features: [] }, { width: 64, height: 64, embeddings: [use('ink', 'a')] })).toBe(false)
})

it('several workers offer each name once, with the file of the one that came last', () => {
  const latest = hello(embedding('b', 'b'))
  const { embeddings } = mergeCapabilities(latest, [hello(embedding('b', 'a'), embedding('a', 'a')), latest])
  expect(embeddings).toEqual([embedding('a', 'a'), embedding('b', 'b')])
})

it('a heartbeat has the embeddings of now', () => {
  const worker = hello(embedding('ink', 'a'))
  const heartbeat = (embeddings?: Embedding[]) =>
    ({ ...idleHeartbeat('s'), ...(embeddings === undefined ? {} : { embeddings }) }) as Heartbeat
  expect(withHeartbeat(worker, heartbeat())).toBeUndefined()
  expect(withHeartbeat(worker, heartbeat([embedding('ink', 'a')]))).toBeUndefined()
  expect(withHeartbeat(worker, heartbeat([]))?.embeddings).toEqual([])
})

const json = async (server: RunningServer, path: string, body?: object): Promise<unknown> =>
  (
    await fetch(`${server.url}${path}`, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: { 'content-type': 'application/json' }
    })
  ).json()
const listed = async (server: RunningServer) =>
  ((await json(server, '/embeddings')) as { embeddings: Embedding[] }).embeddings

it('paints with the embeddings of a real worker, whose folder changes, and repeats its recipes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-embeddings-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'ink.safetensors'), '3')
  const server = await startServer({ WORKER_ARGS: `--embeddings ${folder}` })
  await server.pool.firstReady
  const [ink] = await listed(server)
  expect(ink).toMatchObject({ name: 'ink', vectors: 3 })
  expect(await json(server, '/tokenize', { prompt: 'an ink fox' })).toMatchObject({
    prompt: { tokens: 5, embeddings: ['ink'] }
  })
  expect(await json(server, '/sdapi/v1/embeddings')).toEqual({
    loaded: { ink: { step: null, sd_checkpoint: null, sd_checkpoint_name: null, shape: 2048, vectors: 3 } },
    skipped: {}
  })

  const request = { prompt: 'an ink fox', seed: 3, num_inference_steps: 2, width: 64, height: 64 }
  const paint = async (body: object) => {
    const answer = await generate(server, body)
    expect(answer.status, await answer.clone().text()).toBe(200)
    const recipe = JSON.parse(answer.headers.get('easel-recipe')!) as { embeddings: unknown }
    return { file: Buffer.from(await answer.arrayBuffer()), embeddings: recipe.embeddings }
  }
  const recipeOf = async (file: Buffer) => {
    const answer = await fetch(`${server.url}/recipe`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: new Uint8Array(file)
    })
    return ((await answer.json()) as { request: object }).request
  }
  const painted = await paint(request)
  expect(painted.embeddings).toEqual([{ name: 'ink', digest: ink!.digest }])
  const plain = await paint({ ...request, embeddings: [] })
  expect(plain.embeddings).toEqual([])
  expect(plain.file.equals(painted.file)).toBe(false)
  const oil = await paint({ ...request, prompt: 'an oil fox' })
  expect(oil.embeddings).toEqual([])
  expect(painted.file.includes(`TI hashes: "ink: ${ink!.digest.slice(0, 12)}"`)).toBe(true)

  await writeFile(join(folder, 'oil.safetensors'), '1')
  await until('the new file is listed', async () => (await listed(server)).length === 2)
  for (const { file } of [painted, plain, oil]) {
    const again = await paint(await recipeOf(file))
    expect(again.file.equals(file)).toBe(true)
  }
  expect((await paint({ ...request, prompt: 'an oil fox' })).file.equals(oil.file)).toBe(false)

  await writeFile(join(folder, 'ink.safetensors'), '12')
  await until('the changed file is listed', async () => (await listed(server))[0]!.vectors === 12)
  const refused = await generate(server, await recipeOf(painted.file))
  expect(refused.status).toBe(400)
  expect(await refused.json()).toMatchObject({ code: 'UNSUPPORTED_EMBEDDING', field: 'embeddings' })
})

it('takes names for text where the workers have none', async () => {
  const server = await startServer({})
  await server.pool.firstReady
  expect(await listed(server)).toEqual([])
  const request = { prompt: 'an ink fox', width: 64, height: 64, num_inference_steps: 1, seed: 1 }
  const answer = await generate(server, { ...request, embeddings: [] })
  expect(answer.status).toBe(200)
  expect(JSON.parse(answer.headers.get('easel-recipe')!)).not.toHaveProperty('embeddings')
  const refused = await generate(server, { ...request, embeddings: [{ name: 'ink' }] })
  expect(await refused.json()).toMatchObject({
    code: 'UNSUPPORTED_EMBEDDING',
    message: 'embeddings: there is no embedding "ink": this server has none; its operator sets EMBEDDINGS'
  })
})
