import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { reconnect } from '../support/reconnect.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, type RunningServer, shareServer, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

let server: RunningServer

shareServer((ready) => (server = ready))

/** The fake engine's. */
const values = { num_inference_steps: 4, guidance_scale: 0, scheduler: 'euler', timestep_spacing: 'trailing' }
const small = { width: 32, height: 48 }

async function made(body: object): Promise<{ recipe: Record<string, unknown>; data: string }> {
  const response = await generate(server, { ...small, ...body }, { headers: { accept: 'application/json' } })
  expect(response.status).toBe(200)
  const { images } = (await response.json()) as { images: [{ recipe: Record<string, unknown>; data: string }] }
  return images[0]
}

const json = async (path: string) => (await fetch(`${server.url}${path}`)).json() as Promise<any>

describe('preset', () => {
  it('is listed with what it sets', async () => {
    const health = await json('/health')
    const offered = [{ name: 'lightning-4', ...values }]
    expect(health.presets).toEqual(offered)
    expect(health.models[0].presets).toEqual(offered)
    const { data } = await json('/v1/models')
    expect(data).toEqual([expect.objectContaining({ id: 'fake', presets: offered, defaults: health.defaults })])
    const { schemas } = (await json('/openapi.json')).components
    expect(schemas.GenerateRequest.properties.preset.enum).toEqual(['lightning-4'])
    expect(schemas.OpenAiImagesRequest.properties.preset.enum).toEqual(['lightning-4', null])
  })

  it('is none for a worker that has none, whose family is listed', async () => {
    const own = await startServer({ WORKER: 'connect' })
    const model = startWorker(own.endpoint, 'model')
    await own.pool.firstReady
    const { presets: _, ...older } = own.pool.state.workers[0]!.hello
    const worker = new ScriptedWorker(own.endpoint, 'older', { ...older, model: { ...older.model, family: 'vega' } })
    model.kill('SIGTERM')
    await until('no other worker is registered', () => own.pool.state.workers.length === 0)
    await reconnect(own, 'older', worker, {})
    const { data } = (await (await fetch(`${own.url}/v1/models`)).json()) as { data: object[] }
    expect(data).toEqual([expect.objectContaining({ id: 'fake', family: 'vega', presets: [] })])
    const refused = await generate(own, { prompt: 'x', preset: 'lightning-4' })
    expect(await refused.json()).toMatchObject({ message: 'preset must be left out: this model has no presets' })
  })

  it('makes the image that its values make, and its recipe has the values', async () => {
    const named = await made({ prompt: 'x', seed: 7, preset: 'lightning-4' })
    const spelled = await made({ prompt: 'x', seed: 7, ...values })
    expect(named).toEqual(spelled)
    expect(named.recipe).toMatchObject(values)
    expect(named.recipe).not.toHaveProperty('preset')
    const { model: _, model_digest: __, version: ___, ...request } = named.recipe
    expect((await made(request)).data).toBe(named.data)
  })

  it('gives way to the fields that the request sets', async () => {
    const { recipe } = await made({ prompt: 'x', preset: 'lightning-4', num_inference_steps: 2 })
    expect(recipe).toMatchObject({ ...values, num_inference_steps: 2 })
  })

  it('is refused by name where the model does not offer it', async () => {
    const response = await generate(server, { prompt: 'x', preset: 'turbo' })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      code: 'UNSUPPORTED_PRESET',
      field: 'preset',
      message: 'preset must be one of lightning-4'
    })
  })

  it('is taken by /v1 too', async () => {
    const ask = (extra: object) =>
      fetch(`${server.url}/v1/images/generations`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x', seed: 7, size: '32x48', ...extra })
      })
    const { data } = (await (await ask({ preset: 'lightning-4' })).json()) as { data: [{ b64_json: string }] }
    expect(data[0].b64_json).toBe((await made({ prompt: 'x', seed: 7, truncate: true, ...values })).data)
    const refused = await ask({ preset: 'none' })
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({ error: { param: 'preset', code: 'UNSUPPORTED_PRESET' } })
  })
})

it('of a LoRA is listed if the model has it, and a request without its values is warned', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-loras-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  for (const [name, preset] of [
    ['fast', 'lightning-4'],
    ['other', 'lightning-1']
  ])
    await writeFile(join(folder, `${name}.safetensors`), `fast\npreset ${preset}`)
  const own = await startReadyServer({ WORKER_ARGS: `--loras ${folder}` })
  const { loras } = (await (await fetch(`${own.url}/loras`)).json()) as { loras: { name: string; preset?: string }[] }
  expect(loras.map(({ name, preset }) => [name, preset])).toEqual([
    ['fast', 'lightning-4'],
    ['other', undefined]
  ])

  const warning = async (body: object) => {
    const response = await generate(own, { prompt: 'x', ...body })
    expect(response.status).toBe(200)
    return response.headers.get('easel-warning')
  }
  const fast = { loras: [{ name: 'fast' }] }
  const said = await warning(fast)
  // The request's values are what the model has by default: the LoRA has changed nothing.
  expect(said).toMatch(/^loras has fast, .* with 20 steps and a guidance_scale of 5: "preset": "lightning-4"/)
  expect(await warning({ prompt: 'x<lora:fast:1>', prompt_syntax: 'a1111' })).toBe(said)
  expect(await warning({ ...fast, num_inference_steps: 8 })).toMatch(/8 steps and a guidance_scale of 5/)
  expect(await warning({ ...fast, preset: 'lightning-4' })).toBeNull()
  expect(await warning({ ...fast, num_inference_steps: 8, guidance_scale: 2 })).toBeNull()
  expect(await warning({ loras: [{ name: 'fast', unet_weight: 0 }] })).toBeNull()
  expect(await warning({ loras: [{ name: 'other' }] })).toBeNull()
})
