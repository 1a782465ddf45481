import { expect, it } from 'vitest'
import { canRun, fieldInTheWay, mergeCapabilities } from '../../src/workers/capabilities.js'
import type { Job } from '../../src/workers/job.js'
import type { Heartbeat, Hello } from '../../src/workers/protocol.js'
import { withHeartbeat } from '../../src/workers/sizes.js'
import { idleHeartbeat } from '../support/heartbeat.mjs'
import { blackPng } from '../support/pictures.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const SIZE = { width: 64, height: 64 }

const digest = (letter: string) => letter.repeat(64)
const sizes: Hello['sizes'] = [[64, 64]]
const limits = { max_steps: 9, max_guidance_scale: 9, max_images: 9 }
const plain = { sizes, limits, tokenizers: [{ max_length: 77 }] } as Hello
const controls = [{ name: 'canny', digest: digest('a'), kind: 'controlnet' }]
const adapters = [{ name: 'plus', digest: digest('b'), tokens: 4 }]
const controlling = { ...plain, features: ['controls'], limits: { ...limits, max_controls: 1 }, controls } as Hello
const adapting = { ...plain, features: ['ip_adapters'], ip_adapters: adapters } as Hello
const able = { ...controlling, features: ['controls', 'ip_adapters', 'loras'], ip_adapters: adapters } as Hello

const ids = { ids: [1], ids_2: [1] }
const job = { width: 64, height: 64, prompt: ids, negative: null } as unknown as Job
const use = { name: 'canny', digest: digest('a'), scale: 1 }
const adapter = { name: 'plus', digest: digest('b'), scale: 1 }
const form = (role: 'control' | 'ip_adapter') => ({ role, width: 64, height: 64, channels: 3 })
const following = { ...job, controls: [use], pictures: [form('control')] }
const prompted = { ...job, ip_adapters: [adapter], pictures: [form('ip_adapter')] }

it('a worker gets only jobs whose nets and adapters it has, the same files and not more than it allows', () => {
  for (const hello of [plain, controlling, adapting, able]) {
    const [nets, prompts] = [hello === controlling || hello === able, hello === adapting || hello === able]
    expect(canRun(hello, job)).toBe(true)
    expect(canRun(hello, following)).toBe(nets)
    expect(canRun(hello, prompted)).toBe(prompts)
    // Before its pictures are decoded.
    expect(canRun(hello, { ...job, controls: [use] })).toBe(nets)
    expect(canRun(hello, { ...job, controls: [use, use] })).toBe(false)
    expect(canRun(hello, { ...job, controls: [{ ...use, digest: digest('c') }] })).toBe(false)
    expect(canRun(hello, { ...job, ip_adapters: [{ ...adapter, name: 'other' }] })).toBe(false)
  }
})

it('names the field without which one worker could run a job of two', () => {
  const both = { ...following, ip_adapters: [adapter], pictures: [form('control'), form('ip_adapter')] }
  expect(fieldInTheWay([controlling, adapting], both)).toBe('controls')
  expect(fieldInTheWay([controlling, plain], both)).toBe('ip_adapters')
  expect(fieldInTheWay([able], { ...both, width: 32 })).toBeUndefined()
})

it('workers together have the nets of each, and the largest number of them', () => {
  const other = { ...controlling, controls: [{ name: 'depth', digest: digest('d'), kind: 't2i-adapter' }] } as Hello
  const two = { ...other, limits: { ...limits, max_controls: 2 } } as Hello
  const merged = mergeCapabilities(controlling, [controlling, two, adapting])
  expect(merged.controls.map(({ name }) => name)).toEqual(['canny', 'depth'])
  expect(merged.ipAdapters).toEqual(adapters)
  expect(merged.limits.max_controls).toBe(2)
})

it('a heartbeat brings nets that HELLO did not have, and none where it says nothing of them', () => {
  const beat = (more: object) => ({ features: able.features, sizes, ...more }) as Heartbeat
  expect(withHeartbeat(able, beat({}))).toBeUndefined()
  expect(withHeartbeat(able, beat({ controls, ip_adapters: adapters }))).toBeUndefined()
  expect(withHeartbeat(able, beat({ controls: [] }))).toMatchObject({ controls: [], ip_adapters: adapters })
  expect(withHeartbeat(plain, { sizes, features: ['controls'], controls } as unknown as Heartbeat)).toMatchObject({
    features: ['controls'],
    controls
  })
})

it('is refused with 503 while a worker still compiles the programs for it, and taken from then on', async () => {
  const server = await startReadyServer()
  const worker = new ScriptedWorker(server.endpoint, 'following', {
    ...server.pool.state.workers[0]!.hello,
    limits: { ...server.pool.state.workers[0]!.hello.limits, max_controls: 2 }
  })
  await worker.hello({ coming_features: ['controls', 'ip_adapters'] })
  await until('two workers are connected', () => server.pool.state.workers.length === 2)
  const image = blackPng(SIZE).toString('base64')
  const asked = (list: object) => generate(server, { prompt: 'a fox', ...SIZE, ...list })
  for (const [field, name] of [
    ['controls', 'canny'],
    ['ip_adapters', 'plus']
  ] as const) {
    const refused = await asked({ [field]: [{ name, image }] })
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).toBe('5')
    expect(await refused.json()).toMatchObject({
      code: 'NOT_READY',
      field,
      message: `${field} is not available yet: the programs for it are still being compiled; retry later`
    })
  }
  const features = [...server.pool.state.workers[0]!.hello.features!, 'controls']
  await worker.send('HEARTBEAT', { ...idleHeartbeat(worker.session!), features, coming_features: [], controls })
  await until('the net is listed', async () => {
    const listed = (await (await fetch(`${server.url}/controls`)).json()) as { controls: object[] }
    return listed.controls.length === 1
  })
  const made = asked({ controls: [{ name: 'canny', image }] })
  await until('the worker has the job', () => worker.jobs.length === 1)
  expect(worker.jobs[0]).toMatchObject({ controls: [use], pictures: [{ role: 'control', ...SIZE, channels: 3 }] })
  await worker.finish()
  expect((await made).status).toBe(200)
  // The other feature's programs could not be compiled: it is not offered any more.
  expect((await asked({ ip_adapters: [{ name: 'plus', image }] })).status).toBe(400)
})
